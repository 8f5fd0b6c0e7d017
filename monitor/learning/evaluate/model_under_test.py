"""A model bundle as an evaluation uses it: the same steps, in the same order, as the daemon's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.imaging.geometry import resize_to_input
from monitor.imaging.regions import find_regions, merge_heatmaps
from monitor.inference.handle import CamHeat, Classification, Evidence
from monitor.models.bundle import ModelBundle
from monitor.records import Box, Heatmap, Image, Region, TileHeatmap


@dataclass(frozen=True, slots=True, eq=False)
class ModelUnderTest:
    """The steps from an image to its verdict and to its regions.

    `fit` brings an image to the network's size; `classify` classifies (b, h, w, 3) uint8 inputs, b ≤ `batch`;
    `explain` maps one input and its evidence to heat. Inputs farther than `limit` from the training data are
    unfamiliar; it is None where the bundle does not know what is familiar.
    `heat_threshold` is a fraction of the heat's peak, `minimum_area` a fraction of the image, `input_size`
    (height, width), `cell_offset` (x, y) in pixels of the input.
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

    def localise(
        self, fitted: Image, evidence: Evidence | None, *, width: int, height: int
    ) -> tuple[Heatmap, tuple[Region, ...]]:
        """Return heat (height, width) in the image's own pixels, and its regions, strongest first."""
        heat = self.explain(fitted, evidence)
        tiles = [TileHeatmap(heat.heatmap, Box(0, 0, width, height), heat.peak)] if heat.peak > 0 else []
        merged = merge_heatmaps(
            tiles, width=width, height=height, input_size=self.input_size, cell_offset=self.cell_offset
        )
        smallest = self.minimum_area * width * height
        return merged, find_regions(merged, threshold=self.heat_threshold, minimum_area=smallest)


def load_model_under_test(
    bundle: ModelBundle,
    *,
    device: Literal["auto", "gpu", "cpu"] = "auto",
    batch: int = 8,
    minimum_area: float = 0.0005,
) -> ModelUnderTest:
    """Load the bundle's network onto `device` (`auto`, `gpu`, `cpu`). Raises ModelError or DeviceError."""
    from monitor.inference.candidates import InferenceOptions  # noqa: PLC0415
    from monitor.inference.local import LocalModel  # noqa: PLC0415 (not every evaluation loads a network)

    # The same on every machine: what is measured is the model, not an arithmetic.
    options = InferenceOptions(device=device, runtime="tensorflow", precision="fp32", batch=batch)
    model = LocalModel(bundle, options)
    model.load()
    spec = model.spec
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
    )
