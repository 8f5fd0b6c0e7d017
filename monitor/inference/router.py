"""Which model classifies the frames of which camera."""

from collections.abc import Mapping, Sequence

from monitor.inference.handle import ModelHandle


class ModelRouter:
    """The model of each camera; `default` for every camera without one of its own.

    A model that was swapped out stays usable for the frames that it flagged, and is freed with the last of
    them, since nothing else refers to it. Cameras may be swapped from any thread.
    """

    def __init__(self, default: ModelHandle, models: Mapping[str, ModelHandle] | None = None) -> None:
        self._default = default
        self._models = dict(models or {})
        self._retired: list[ModelHandle] = []

    def handle_for(self, camera: str) -> ModelHandle:
        """The model that classifies the frames of `camera` from now on."""
        return self._models.get(camera, self._default)

    def swap(self, camera: str, handle: ModelHandle) -> None:
        """Have `handle`, which is loaded, classify the frames of `camera` from the next batch on."""
        self._models[camera] = handle

    def adopt(self, other: "ModelRouter") -> None:
        """Use the models of `other`, which are loaded, from the next batch on.

        The models before stay in memory: the process crashed when one was freed while another ran. A change
        of thresholds alone shares the network, so only another model, `max_n` or scoring costs memory.
        """
        self._retired += self.handles
        self._default, self._models = other._default, other._models

    @property
    def handles(self) -> Sequence[ModelHandle]:
        """Each model in use, once."""
        return list(dict.fromkeys((self._default, *self._models.values())))

    def load(self) -> None:
        """Make every model ready. Raises DeviceError or ModelError."""
        for handle in self.handles:
            handle.load()

    def close(self) -> None:
        """Free every model."""
        for handle in self.handles:
            handle.close()
