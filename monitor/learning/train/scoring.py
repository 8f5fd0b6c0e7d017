"""Scores of whole frames while a network is trained: the highest of their tiles, as the daemon takes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.tiling import FrameTruth, Tiling, read_truth, tiles_of
from monitor.learning.train.input_pipeline import InputPipeline
from monitor.learning.train.results import ScoredImages
from monitor.models.novelty import NoveltyDetector, fit_novelty_detector

Predict = Callable[[Any], tuple[NDArray[np.float32], NDArray[np.float32]]]


NOVEL_FRACTION = 0.01
"""Fraction of valid frames, clean and degraded, that may count as unfamiliar."""


DEGRADED_VIEWS = 3
"""Bad cameras by which the limit of familiarity is set: 1 % of few frames would be the maximum of them."""


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


@dataclass(frozen=True, slots=True)
class FrameScorer:
    """Scores frames by `predict`, as the weights of its network are at the time.

    `size` (height, width) is the network's; `batch` and `seed` as in `InputPipeline`.
    """

    predict: Predict
    size: tuple[int, int]
    batch: int
    seed: int

    def pipeline(self, samples: Sequence[Sample]) -> InputPipeline:
        """Return what feeds `samples` to the network."""
        return InputPipeline(samples, self.size, self.batch, self.seed)

    def features(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Return the means of the explained layer (n, c) for `samples`."""
        return self.predict(self.pipeline(samples).judging(degraded=False))[1]

    def score(
        self, truths: Sequence[FrameTruth], tiling: Tiling, *, degraded: bool = False, view: int = 0
    ) -> ScoredFrames:
        """Score all tiles of all frames; with `degraded` each as a bad camera, number `view`, shows it."""
        cut = tiles_of(truths, tiling)
        tiles = [sample for frame in cut for sample in frame]
        scores, features = self.predict(self.pipeline(tiles).judging(degraded=degraded, view=view))
        starts = np.cumsum([0, *(len(frame) for frame in cut[:-1])])
        highest = [
            int(start + scores[start : start + len(frame)].argmax())
            for start, frame in zip(starts, cut, strict=True)
        ]
        defective = np.array([truth.sample.defective for truth in truths], bool)
        return ScoredFrames(
            ScoredImages(scores[highest], features[highest], defective), tiles, scores, features, starts
        )

    def degraded_views(self, truths: Sequence[FrameTruth], tiling: Tiling) -> list[ScoredFrames]:
        """Score all frames as `DEGRADED_VIEWS` bad cameras show them."""
        return [self.score(truths, tiling, degraded=True, view=view) for view in range(DEGRADED_VIEWS)]

    def score_tests(self, test: Sequence[Sample], tiling: Tiling) -> dict[str, ScoredImages]:
        """Score the frames of `test`, by surface."""
        return {
            surface: self.score(
                [read_truth(sample) for sample in test if sample.surface == surface], tiling
            ).frames
            for surface in sorted({sample.surface for sample in test})
        }


def fit_frame_novelty(
    training: NDArray[np.float32], clean: ScoredFrames, degraded: Sequence[ScoredFrames]
) -> NoveltyDetector:
    """Learn what is familiar from `training` (n, c), with a limit that `NOVEL_FRACTION` of frames cross.

    Degraded frames are valid ones, and count.
    """
    detector = fit_novelty_detector(training, clean.tile_features)
    distances = [frame_distances(detector, part.tile_features, part.starts) for part in (clean, *degraded)]
    return novelty_limit(detector, np.concatenate(distances))


def frame_distances(
    detector: NoveltyDetector, features: NDArray[np.float32], starts: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return how far each frame (n,) is off: as far as the furthest of its tiles, with `features` (t, c)."""
    return np.asarray(np.maximum.reduceat(detector.distance(features), starts), np.float32)


def novelty_limit(detector: NoveltyDetector, distances: NDArray[np.float32]) -> NoveltyDetector:
    """Return `detector` with the limit that `NOVEL_FRACTION` of frames cross, by their `distances` (n,)."""
    return replace(detector, limit=float(np.quantile(distances, 1 - NOVEL_FRACTION, method="higher")))
