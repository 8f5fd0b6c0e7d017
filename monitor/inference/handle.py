"""What every part of the pipeline knows of a model, wherever that runs.

A handle is one version of one model, on this machine or elsewhere. A flagged frame keeps the handle that
classified it, so its explanation comes from the same model, however much later.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.inference.device import ComputeDevice
from monitor.models.card import ModelCard, RegionDefaults
from monitor.models.novelty import NoveltyScore
from monitor.records import Heatmap, Image

Evidence = object
"""What a model needs to explain an input without classifying it again. Only its handle knows what it is: a
local model's is a copy of the activations, a remote one's may be a ticket that expires."""


Proceed = Callable[[], bool]
"""Called before each step of an explanation; returns whether to make it."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is applied to the frames of a model.

    `input_size` is (height, width). `labels` names good and defective inputs; a score (0..1) of `threshold`
    or more is defective. `cell_offset` is the input pixel (x, y) at which cell (0, 0) of a heat map lies.
    `regions` tells how many maps are scored and how heat becomes regions.
    """

    name: str
    sha256: str
    input_size: tuple[int, int]
    labels: tuple[str, str]
    threshold: float
    cell_offset: tuple[float, float]
    regions: RegionDefaults

    @classmethod
    def from_card(
        cls, card: ModelCard, score_threshold: float | None = None, **regions: object
    ) -> "ModelSpec":
        """Take the values of `card`, but for those given.

        `regions` are fields of the card's `localisation`. None leaves a value as the card has it.
        """
        good = next(name for index, name in enumerate(card.classes) if index != card.defect_class)
        given = {name: value for name, value in regions.items() if value is not None}
        return cls(
            name=card.name,
            sha256=card.model.sha256,
            input_size=card.input_size,
            labels=(good, card.classes[card.defect_class]),
            threshold=card.threshold if score_threshold is None else score_threshold,
            cell_offset=card.cell_offset,
            regions=card.localisation.model_copy(update=given),
        )


class Classification(NamedTuple):
    """The answer to a batch of b inputs.

    `scores` (b,) float32, 0..1: the higher, the more like a defect. `novelty` has None for each input where
    the model does not know what is familiar, `evidence` None for each input below the threshold. Evidence is
    valid until the handle is closed, whatever is classified meanwhile. `kinds` names the kind of defect of
    each input at or above the threshold; it is empty where the model knows none.
    """

    scores: NDArray[np.float32]
    novelty: Sequence[NoveltyScore | None]
    evidence: Sequence[Evidence | None]
    kinds: Sequence[str | None] = ()


CAM_METHOD = "faster-score-cam"


FLOOR_METHOD = "mean-activation"
"""Heat without a forward pass: that of Faster-Score-CAM with equal weights."""


class CamHeat(NamedTuple):
    """Heat of one input.

    `heatmap` (rows, columns) is 0..1. `peak` is its highest value before scaling; 0 where there is no heat
    to show: it is flat, zero or not finite. `method` names the CAM method, which used `maps_used` maps.
    `extents`: as in `TileHeatmap`, None for a model without a box head.
    """

    heatmap: Heatmap
    peak: float
    method: str
    maps_used: int
    extents: NDArray[np.float32] | None = None


class ModelHandle(Protocol):
    """One version of one model, on this machine or elsewhere.

    The other attributes are known once it is loaded: its `device`; `refinement_seconds`, what scoring all
    maps of one input takes; `efficient_batch`, the inputs of a pass from which on more in one pass save no
    time.
    """

    spec: ModelSpec
    device: ComputeDevice
    refinement_seconds: float
    efficient_batch: int

    def load(self) -> None:
        """Make the model ready, which takes seconds. Raises DeviceError or ModelError."""

    def classify(
        self, inputs: NDArray[np.uint8], thresholds: NDArray[np.float64] | None = None
    ) -> Classification:
        """Classify (b, h, w, 3) uint8 inputs of the model's size; any b ≥ 1.

        `thresholds` (b,) replace that of `spec` where cameras have their own.
        Raises InferenceError where the model is out of reach.
        """

    def explain(self, image: Image, evidence: Evidence | None, proceed: Proceed) -> CamHeat:
        """Explain the defect on one input `image` (h, w, 3) uint8, at any time after its classification.

        Heat comes from the evidence at once; it is refined, map by map, for as long as `proceed` allows.
        Evidence that is None or has expired is computed again. Raises InferenceError where the model is out
        of reach.
        """

    def close(self) -> None:
        """Free what the model holds."""
