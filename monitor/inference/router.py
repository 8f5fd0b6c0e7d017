"""Which model classifies the frames of which camera."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitor.inference.handle import ModelHandle


@dataclass(frozen=True, slots=True)
class Routing:
    """How the frames of each camera are classified, at one moment.

    `models` and `thresholds` (0..1) are by camera. Any other camera has the `default` model, and the
    threshold of its model. `shadows` are models, by camera, that classify the same frames without effect on
    the verdict. `recipe` names the settings of the product on the line; None without recipes.
    """

    default: ModelHandle
    models: Mapping[str, ModelHandle]
    thresholds: Mapping[str, float]
    recipe: str | None
    shadows: Mapping[str, ModelHandle]

    def handle_for(self, camera: str) -> ModelHandle:
        """Return the model that classifies the frames of `camera`."""
        return self.models.get(camera, self.default)

    def threshold_for(self, camera: str) -> float:
        """Return the score from which a frame of `camera` is flagged."""
        return self.thresholds.get(camera, self.handle_for(camera).spec.threshold)


class ModelRouter:
    """The model of each camera; `default` for every camera without one of its own.

    `routing` is replaced as a whole, from any thread. A model that was replaced stays usable for the frames
    that it flagged, and is freed after the last of them, since nothing else refers to it.
    """

    def __init__(
        self,
        default: ModelHandle,
        models: Mapping[str, ModelHandle] | None = None,
        thresholds: Mapping[str, float] | None = None,
        recipe: str | None = None,
        shadows: Mapping[str, ModelHandle] | None = None,
    ) -> None:
        self.routing = Routing(
            default, dict(models or {}), dict(thresholds or {}), recipe, dict(shadows or {})
        )

    def handle_for(self, camera: str) -> ModelHandle:
        """Return the model that classifies the frames of `camera` from now on."""
        return self.routing.handle_for(camera)

    def adopt(self, other: "ModelRouter") -> None:
        """Classify as `other` does, whose models are loaded, from the next batch on."""
        self.routing = other.routing

    @property
    def handles(self) -> Sequence[ModelHandle]:
        """Each model that gives verdicts, once."""
        routing = self.routing
        return list(dict.fromkeys((routing.default, *routing.models.values())))

    @property
    def shadows(self) -> Sequence[ModelHandle]:
        """Each shadow model, once."""
        return list(dict.fromkeys(self.routing.shadows.values()))

    def descriptions(self) -> list[tuple[str, str, str, str]]:
        """Return name, SHA-256, device and precision of each model that gives verdicts; all are loaded."""
        return [
            (model.spec.name, model.spec.sha256, model.device.description, model.device.precision)
            for model in self.handles
        ]

    def load(self) -> None:
        """Make every model ready. Raises DeviceError or ModelError."""
        for handle in (*self.handles, *self.shadows):
            handle.load()

    def close(self) -> None:
        """Free every model."""
        for handle in (*self.handles, *self.shadows):
            handle.close()
