"""Train the last layer alone on the features of the start weights, which stay as they are.

For few defects: one pass over the images, no image set aside. Each image is scored for the threshold by a
layer that was trained without it and without images that belong to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError
from monitor.learning.datasets.fingerprint import position
from monitor.learning.datasets.tiling import FrameTruth, Tiling
from monitor.learning.train.architecture import OUTPUT_LAYER

PENALTY = 0.01
"""Weight of the squares of the layer's weights, for features of unit variance."""


FOLDS = 5


ROUNDS = 3
"""How often the tile that shows a defect at an unknown place is chosen again."""


NEWTON_STEPS = 25


MAX_TRANSPLANTS = 4000
"""Defects on other backgrounds that a layer is trained on, about."""


@dataclass(frozen=True, slots=True, eq=False)
class LastLayer:
    """Weights (c,) and bias of the logit of a defect, linear in the features (n, c)."""

    weights: NDArray[np.float64]
    bias: float

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the score of a defect, 0..1, for each of `features` (n, c)."""
        return np.asarray(0.5 * (1 + np.tanh((features @ self.weights + self.bias) / 2)), np.float32)

    def store(self, model: Any) -> None:
        """Make it the last layer of `model`, a softmax over good and defective."""
        half = self.weights.astype(np.float32) / 2
        model.get_layer(OUTPUT_LAYER).set_weights(
            [np.stack([-half, half], axis=1), np.array([-self.bias, self.bias], np.float32) / 2]
        )


def fit_last_layer(
    features: NDArray[np.float32],
    defective: NDArray[np.bool_],
    surfaces: NDArray[np.str_] | None = None,
) -> LastLayer:
    """Fit by logistic regression on `features` (n, c), good and defective ones with the same total weight.

    So do the `surfaces` (n,) of either label: a few images of a new surface count as much as many of an old
    one. Newton's method: the problem is convex, and the result depends on the data alone. Raises `DataError`
    where a label is missing.
    """
    if defective.all() or not defective.any():
        raise DataError("too few images: both good and defective ones are needed")
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-6
    inputs = np.c_[(features - mean) / deviation, np.ones(len(features))]
    shares = _equal_shares(defective, surfaces)
    penalty = np.r_[np.full(features.shape[1], PENALTY), 1e-9]
    weights = np.zeros(inputs.shape[1])
    for _ in range(NEWTON_STEPS):
        predicted = 0.5 * (1 + np.tanh(inputs @ weights / 2))
        gradient = inputs.T @ (shares * (predicted - defective)) + penalty * weights
        curvature = (inputs * (shares * predicted * (1 - predicted))[:, None]).T @ inputs
        step = np.linalg.solve(curvature + np.diag(penalty), gradient)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    scaled = weights[:-1] / deviation
    return LastLayer(scaled, float(weights[-1] - scaled @ mean))


def _equal_shares(defective: NDArray[np.bool_], surfaces: NDArray[np.str_] | None) -> NDArray[np.float64]:
    """Return the weight (n,) of each image: a half for each label, in it the same for each surface."""
    shares = np.zeros(len(defective))
    for label in (True, False):
        own = defective == label
        names = np.zeros(len(own), np.str_) if surfaces is None else surfaces
        found = np.unique(names[own])
        for name in found:
            part = own & (names == name)
            shares[part] = 0.5 / len(found) / part.sum()
    return shares


class DefectViews(NamedTuple):
    """m views of defective tiles, turned and mirrored: a few defects lie in few directions.

    `tile` (m,): the index of the tile that each shows. `marked` (m, c): its features, `background` (m, c):
    those beside the defect alone.
    """

    tile: NDArray[np.intp]
    marked: NDArray[np.float32]
    background: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FrameFeatures:
    """The features (t, c) of all tiles of n frames.

    `frame` (t,) is the frame that each tile belongs to, `label` (t,) 1 for a defect, 0 for none, and -1 where
    the frame is defective and nobody knows whether the tile is. `surfaces` (n,) names the surface of each
    frame, where there are several. `views` show defects whose place is known.
    """

    features: NDArray[np.float32]
    frame: NDArray[np.intp]
    label: NDArray[np.int8]
    surfaces: NDArray[np.str_] | None = None
    views: DefectViews | None = None

    @classmethod
    def of(
        cls, truths: Sequence[FrameTruth], tiling: Tiling, features: NDArray[np.float32]
    ) -> "FrameFeatures":
        """Label the tiles of `truths`, in the daemon's order, whose `features` (t, c) are given."""
        labels, frames = [], []
        for number, truth in enumerate(truths):
            if tiling.is_whole_frame:
                found: list[bool | None] = [truth.sample.defective]
            else:
                found = [truth.label(box) for box in tiling.boxes(truth.width, truth.height)]
            labels += [-1 if label is None else int(label) for label in found]
            frames += [number] * len(found)
        return cls(features, np.array(frames), np.array(labels, np.int8))

    def fit(self, frames: NDArray[np.bool_]) -> LastLayer:
        """Train on the tiles of the `frames` (n,) that are True.

        Where no mask tells which tile of a defective frame shows the defect, all do at first; then, in each
        round, the one of highest score does, and the others are left out.
        """
        chosen = frames[self.frame]
        unknown = chosen & (self.label < 0) & ~np.isin(self.frame, self.frame[self.label == 1])
        used = chosen & (self.label >= 0) | unknown
        layer = self._fit(used)
        for _ in range(ROUNDS if unknown.any() else 0):
            scores = np.where(unknown, layer.scores(self.features), -1)
            highest = [
                int(np.where(self.frame == frame, scores, -1).argmax())
                for frame in np.unique(self.frame[unknown])
            ]
            used = chosen & (self.label >= 0)
            used[highest] = True
            layer = self._fit(used)
        return layer

    def _fit(self, tiles: NDArray[np.bool_]) -> LastLayer:
        every = np.zeros(len(self.frame), np.str_) if self.surfaces is None else self.surfaces[self.frame]
        features, defective, surfaces = [self.features[tiles]], [self.label[tiles] != 0], [every[tiles]]
        if self.views is not None:
            for surface in np.unique(every[tiles]):
                empty, marked = self._transplanted(tiles & (every == surface), self.views)
                features += [empty, marked]
                defective += [np.zeros(len(empty), bool), np.ones(len(marked), bool)]
                surfaces += [np.full(len(empty) + len(marked), surface)]
        return fit_last_layer(np.concatenate(features), np.concatenate(defective), np.concatenate(surfaces))

    def _transplanted(
        self, tiles: NDArray[np.bool_], views: DefectViews
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the views of `tiles` (t,) without their defects, and each defect on other backgrounds.

        These are the good tiles and the places beside defects. Features are means over a tile: what a defect
        adds to its own background it adds to another, too. So few defects show how a defect differs,
        whatever the tile.
        """
        own = tiles[views.tile] & (self.label[views.tile] == 1)
        empty, marks = views.background[own], views.marked[own] - views.background[own]
        places = np.concatenate([self.features[tiles & (self.label == 0)], empty])
        places = places[: MAX_TRANSPLANTS // max(len(marks), 1)]
        transplants = (places[None] + marks[:, None]).reshape(-1, places.shape[1])
        return empty, np.asarray(np.concatenate([views.marked[own], transplants]), np.float32)

    def cross_validated(
        self, keys: Sequence[str], defective: NDArray[np.bool_], *others: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """Return scores (t,) of all tiles, each by a layer trained without its frame's key in `keys` (n,).

        `defective` (n,) are the frames' labels. `others` are features (t, c) of the same tiles in another
        condition: their scores, by the same layers, come after.
        """
        folds = folds_of(keys, defective)
        every = [np.zeros(len(self.frame), np.float32) for _ in range(1 + len(others))]
        for fold in np.unique(folds):
            aside = (folds == fold)[self.frame]
            layer = self.fit(folds != fold)
            for scores, features in zip(every, (self.features, *others), strict=True):
                scores[aside] = layer.scores(features[aside])
        return every


def folds_of(keys: Sequence[str], defective: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the fold (n,), 0 to `FOLDS` - 1, of each frame; frames of one key in `keys` share it.

    Frames of one label in `defective` (n,) are spread evenly.
    """
    fold_of: dict[str, int] = {}
    for kind in (True, False):
        own = {key for key, is_defective in zip(keys, defective, strict=True) if is_defective == kind}
        ordered = sorted(own - fold_of.keys(), key=lambda key: (position(key, "folds"), key))
        fold_of |= {key: index % FOLDS for index, key in enumerate(ordered)}
    return np.array([fold_of[key] for key in keys])


def frame_scores(scores: NDArray[np.float32], starts: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the highest of `scores` (t,) of each frame, whose tiles begin at `starts` (n,)."""
    return np.asarray(np.maximum.reduceat(scores, starts), np.float32)
