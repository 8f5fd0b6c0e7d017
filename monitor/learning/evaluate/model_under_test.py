"""A model bundle as an evaluation uses it: the same steps, in the same order, as the daemon's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.imaging.geometry import resize_to_input
from monitor.imaging.regions import find_regions, merge_heatmaps
from monitor.inference.handle import Classify
from monitor.models.bundle import ModelBundle
from monitor.records import Box, Heatmap, Image, Region, TileHeatmap


@dataclass(frozen=True, slots=True, eq=False)
class ModelUnderTest:
    """The steps from a picture to its verdict and to its regions.

    `fit` brings a picture to the network's size; `classify` answers (b, h, w, 3) uint8, b ≤ `batch`;
    `explain` maps one fitted picture and its activations to heat and strength; `distance` maps features
    (b, c) to distances (b,) from the training data, beyond `limit` unfamiliar, None where the bundle does not
    know.
    `heat_threshold` is a share of the heat's peak, `minimum_area` a share of the picture, `input_size`
    (height, width), `cell_offset` (x, y) in pixels of the input.
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

    def localise(
        self, fitted: Image, activations: Any, *, width: int, height: int
    ) -> tuple[Heatmap, tuple[Region, ...]]:
        """Heat (height, width) in the picture's own pixels and its regions, strongest first."""
        heat, strength = self.explain(fitted, activations)
        patches = [TileHeatmap(heat, Box(0, 0, width, height), strength)] if strength > 0 else []
        spread = merge_heatmaps(
            patches, width=width, height=height, input_size=self.input_size, cell_offset=self.cell_offset
        )
        smallest = self.minimum_area * width * height
        return spread, find_regions(spread, threshold=self.heat_threshold, minimum_area=smallest)


def load_model_under_test(
    bundle: ModelBundle,
    *,
    device: Literal["auto", "gpu", "cpu"] = "auto",
    batch: int = 8,
    minimum_area: float = 0.0005,
) -> ModelUnderTest:
    """Load the bundle's network onto `device` (`auto`, `gpu`, `cpu`); ModelError, DeviceError."""
    from monitor.inference.candidates import InferenceOptions  # noqa: PLC0415
    from monitor.inference.loader import load_classifier  # noqa: PLC0415 (not every evaluation loads a network)

    card, familiarity = bundle.card, bundle.familiarity
    # The same on every machine: what is measured is the model, not an arithmetic.
    wanted = InferenceOptions(
        device=device,
        runtime="tensorflow",
        precision="fp32",
        batch=batch,
        max_n=card.localisation.max_n,
        whole=True,
    )
    classifier = load_classifier(bundle, wanted)
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
    )
