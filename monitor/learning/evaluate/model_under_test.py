"""A model bundle as an evaluation uses it: the same steps in the same order as in the daemon."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.imaging.geometry import resize_to_input
from monitor.imaging.regions import find_regions, merge_heatmaps
from monitor.inference.handle import Classify
from monitor.learning.datasets.tiling import Tiling
from monitor.models.bundle import ModelBundle
from monitor.records import Box, Heatmap, Image, Region, TileHeatmap


@dataclass(frozen=True, slots=True, eq=False)
class ModelUnderTest:
    """The steps from a frame to its verdict and to its regions.

    `fit` resizes a tile to the network's input. `classify` scores (b, h, w, 3) uint8 with b ≤ `batch`.
    `explain` maps one input and its activations to heat and its raw peak. `distance` maps features (b, c) to
    distances (b,) from the training data, unfamiliar beyond `limit`; None where the bundle holds no training
    features. `heat_threshold` is a fraction of the heat's peak, `minimum_area` a fraction of the frame,
    `input_size` (height, width), `cell_offset` (x, y) in pixels of the input. `tiling` cuts the frames;
    `trained_on` and `validated_on` are hashes of images that the bundle was made from.
    """

    name: str
    sha256: str
    fit: Callable[[Image], Image]
    classify: Classify
    explain: Callable[[Image, Any], tuple[Heatmap, float]]
    distance: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None
    limit: float
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
        return boxes, [self.fit(image[box.top : box.bottom, box.left : box.right]) for box in boxes]

    def localise(
        self, flagged: Sequence[tuple[Box, Image, Any]], *, width: int, height: int
    ) -> tuple[Heatmap, tuple[Region, ...]]:
        """Explain the `flagged` tiles of one frame, each with its input and activations.

        Returns the heat (height, width) in the frame's own pixels and its regions, strongest first.
        """
        heatmaps = []
        for box, fitted, activations in flagged:
            heat, raw_peak = self.explain(fitted, activations)
            if raw_peak > 0:
                heatmaps.append(TileHeatmap(heat, box, raw_peak))
        merged = merge_heatmaps(
            heatmaps, width=width, height=height, input_size=self.input_size, cell_offset=self.cell_offset
        )
        smallest = self.minimum_area * sum(box.area for box, _, _ in flagged)
        return merged, find_regions(merged, threshold=self.heat_threshold, minimum_area=smallest)


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
    from monitor.inference.loader import load_classifier  # noqa: PLC0415 (not every evaluation loads a network)

    card, familiarity = bundle.card, bundle.familiarity
    # The same on every machine: the evaluation measures the model, not a precision.
    options = InferenceOptions(
        device=device,
        runtime="tensorflow",
        precision="fp32",
        batch=batch,
        max_n=card.localisation.max_n,
        whole=True,
    )
    classifier = load_classifier(bundle, options)
    return ModelUnderTest(
        name=card.name,
        sha256=card.model.sha256,
        fit=lambda image: resize_to_input(image, card.input_size),
        classify=classifier.classify,
        explain=classifier.explain_single_batch,
        distance=None if familiarity is None else familiarity.distance,
        limit=float("inf") if familiarity is None else familiarity.limit,
        threshold=card.threshold,
        heat_threshold=card.localisation.threshold,
        minimum_area=minimum_area,
        input_size=card.input_size,
        cell_offset=card.cell_offset,
        batch=batch,
        tiling=tiling or Tiling(card.training.roi, card.training.tiles, card.training.overlap),
        trained_on=frozenset(card.training.trained),
        validated_on=frozenset(card.training.validated),
    )
