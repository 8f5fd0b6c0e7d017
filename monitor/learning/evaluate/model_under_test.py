"""A model bundle as an evaluation uses it: the same steps in the same order as in the daemon."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.imaging.geometry import resize_to_input
from monitor.imaging.localisation import locate
from monitor.inference.handle import CamHeat, Classification, Evidence
from monitor.learning.datasets.tiling import Tiling
from monitor.models.bundle import ModelBundle
from monitor.records import Box, Heatmap, Image, Region, TileHeatmap


@dataclass(frozen=True, slots=True, eq=False)
class ModelUnderTest:
    """The steps from a frame to its verdict and to its regions.

    `fit` resizes a tile to the network's input; `classify` classifies (b, h, w, 3) uint8 inputs, b ≤ `batch`;
    `explain` maps one input and its evidence to heat. Inputs farther than `limit` from the training data are
    unfamiliar; it is None where the bundle has no novelty detector. `heat_threshold` is a fraction of the
    heat's peak, `minimum_area` a fraction of a tile's area, `input_size` (height, width), `cell_offset`
    (x, y) in pixels of the input. `tiling` cuts the frames; `trained_on` and `validated_on` are hashes of
    images that the bundle was made from.
    """

    name: str
    sha256: str
    fit: Callable[[Image], Image]
    classify: Callable[[NDArray[np.uint8]], Classification]
    explain: Callable[[Image, Evidence | None], CamHeat]
    limit: float | None
    threshold: float
    heat_threshold: float
    minimum_area: float
    input_size: tuple[int, int]
    cell_offset: tuple[float, float]
    batch: int
    tiling: Tiling = field(default_factory=Tiling)
    trained_on: frozenset[str] = frozenset()
    validated_on: frozenset[str] = frozenset()

    def cut(self, image: Image) -> tuple[tuple[Box, ...], list[Image]]:
        """Cut `image` into the daemon's tiles: their boxes, and each resized to the network's input."""
        height, width = image.shape[:2]
        boxes = self.tiling.boxes(width, height)
        return boxes, [self.fit(box.of(image)) for box in boxes]

    def localise(
        self, flagged: Sequence[tuple[Box, Image, Evidence | None, float]], *, width: int, height: int
    ) -> tuple[Heatmap, tuple[Region, ...]]:
        """Explain the `flagged` tiles of one frame, each with its input, evidence and score.

        Returns the heat (height, width) in the frame's own pixels and its regions, highest ranked first.
        """
        heats = [(box, score, self.explain(fitted, evidence)) for box, fitted, evidence, score in flagged]
        return locate(
            [
                TileHeatmap(heat.heatmap, box, heat.peak, score, heat.extents)
                for box, score, heat in heats
                if heat.peak > 0
            ],
            width=width,
            height=height,
            input_size=self.input_size,
            cell_offset=self.cell_offset,
            threshold=self.heat_threshold,
            minimum_area=self.minimum_area,
        )


def load_model_under_test(
    bundle: ModelBundle,
    *,
    device: Literal["auto", "gpu", "cpu"] = "auto",
    batch: int = 8,
    minimum_area: float = 0.0005,
    tiling: Tiling | None = None,
) -> ModelUnderTest:
    """Load the bundle's network onto `device` (`auto`, `gpu`, `cpu`).

    Frames are cut by `tiling`, or as they were in training. Raises `ModelError` or `DeviceError`.
    """
    from monitor.inference.candidates import InferenceOptions  # noqa: PLC0415
    from monitor.inference.local import LocalModel  # noqa: PLC0415 (not every evaluation loads a network)

    # The same on every machine: the evaluation measures the model, not a precision.
    options = InferenceOptions(device=device, runtime="tensorflow", precision="fp32", batch=batch)
    model = LocalModel(bundle, options)
    model.load()
    spec, training = model.spec, bundle.card.training
    return ModelUnderTest(
        name=spec.name,
        sha256=spec.sha256,
        fit=lambda image: resize_to_input(image, spec.input_size),
        classify=model.classify,
        explain=model.explain,
        limit=None if bundle.familiarity is None else bundle.familiarity.limit,
        threshold=spec.threshold,
        heat_threshold=spec.regions.threshold,
        minimum_area=minimum_area,
        input_size=spec.input_size,
        cell_offset=spec.cell_offset,
        batch=batch,
        tiling=tiling or Tiling.of(training),
        trained_on=frozenset(training.trained),
        validated_on=frozenset(training.validated),
    )
