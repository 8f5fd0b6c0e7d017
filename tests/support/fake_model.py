"""A model of plain functions, as a handle of the pipeline."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.inference.device import ComputeDevice
from monitor.inference.handle import CAM_METHOD, CamHeat, Classification, Evidence, ModelSpec, Proceed
from monitor.models.card import RegionDefaults
from monitor.models.novelty import NoveltyScore
from monitor.records import Image

SIZE = 4


def spec_of(name: str = "fake", size: int = SIZE, threshold: float = 0.5, max_n: int = 10) -> ModelSpec:
    return ModelSpec(
        name=name,
        sha256="0" * 64,
        input_size=(size, size),
        labels=("good", "defect"),
        threshold=threshold,
        cell_offset=(3.5, 3.5),
        regions=RegionDefaults(max_n=max_n),
    )


class FakeModel:
    """Answers with `classify` and `explain`; by default an input is as defective as it is bright.

    Its evidence is the index of the input in its batch.
    """

    device = ComputeDevice("cpu", "/CPU:0", "CPU", "fp32")
    refinement_seconds = 0.1
    efficient_batch = 256

    def __init__(
        self,
        spec: ModelSpec | None = None,
        classify: Callable[[NDArray[np.uint8]], Classification] | None = None,
        explain: Callable[[Image, Evidence | None, Proceed], CamHeat] | None = None,
    ) -> None:
        self.spec = spec or spec_of()
        self._classify = classify or classification_by_brightness
        self._explain = explain
        self.loads = 0
        self.closed = False

    def load(self) -> None:
        self.loads += 1

    def close(self) -> None:
        self.closed = True

    def classify(
        self, inputs: NDArray[np.uint8], thresholds: NDArray[np.float64] | None = None
    ) -> Classification:
        assert inputs.shape[1:] == (*self.spec.input_size, 3)
        return self._classify(inputs)

    def explain(self, image: Image, evidence: Evidence | None, proceed: Proceed) -> CamHeat:
        if self._explain is not None:
            return self._explain(image, evidence, proceed)
        return CamHeat(np.ones((2, 2), np.float32), 0.0, CAM_METHOD, 0)


def classification(scores: Sequence[float], novelty: Sequence[NoveltyScore | None] = ()) -> Classification:
    return Classification(
        np.array(scores, np.float32), list(novelty) or [None] * len(scores), list(range(len(scores)))
    )


def classification_by_brightness(inputs: NDArray[np.uint8]) -> Classification:
    return classification([float(mean) / 255 for mean in inputs.mean(axis=(1, 2, 3))])
