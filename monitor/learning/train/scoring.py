"""Scores of whole frames while a network is trained: the highest of their tiles, as the daemon takes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.tiling import FrameTruth, Tiling, tiles_of
from monitor.learning.train.input_pipeline import InputPipeline
from monitor.learning.train.results import ScoredImages
from monitor.models.novelty import NoveltyDetector, fit_novelty_detector

Predict = Callable[[Any], tuple[NDArray[np.float32], NDArray[np.float32]]]


NOVEL_FRACTION = 0.01
"""Fraction of valid frames, clean and degraded, that may count as unfamiliar."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredFrames:
    """Frames and their tiles.

    `frames`: a score per frame, features of its tile of highest score. `tiles` (t): all tiles, `tile_scores`
    (t,) and `tile_features` (t, c), `starts` (n,): where the tiles of each frame begin.
    """

    frames: ScoredImages
    tiles: Sequence[Sample]
    tile_scores: NDArray[np.float32]
    tile_features: NDArray[np.float32]
    starts: NDArray[np.intp]


def score_frames(
    truths: Sequence[FrameTruth],
    tiling: Tiling,
    pipeline: Callable[[Sequence[Sample]], InputPipeline],
    predict: Predict,
    *,
    degraded: bool,
) -> ScoredFrames:
    """Score all tiles of all frames; with `degraded` each as a bad camera shows it."""
    cut = tiles_of(truths, tiling)
    tiles = [sample for frame in cut for sample in frame]
    scores, features = predict(pipeline(tiles).judging(degraded=degraded))
    starts = np.cumsum([0, *(len(frame) for frame in cut[:-1])])
    highest = [
        int(start + scores[start : start + len(frame)].argmax())
        for start, frame in zip(starts, cut, strict=True)
    ]
    defective = np.array([truth.sample.defective for truth in truths], bool)
    return ScoredFrames(
        ScoredImages(scores[highest], features[highest], defective), tiles, scores, features, starts
    )


def fit_frame_novelty(
    training: NDArray[np.float32], clean: ScoredFrames, degraded: ScoredFrames | None
) -> NoveltyDetector:
    """Learn what is familiar from `training` (n, c), with a limit that `NOVEL_FRACTION` of frames cross.

    A frame is as far off as its furthest tile. Degraded frames are valid ones, and count.
    """
    detector = fit_novelty_detector(training, clean.tile_features)
    distances = np.concatenate(
        [
            np.maximum.reduceat(detector.distance(part.tile_features), part.starts)
            for part in (clean, degraded)
            if part is not None
        ]
    )
    limit = float(np.quantile(distances, 1 - NOVEL_FRACTION, method="higher"))
    return replace(detector, limit=limit)
