"""The last layer alone: convex, from features alone, and scored on frames that it was not trained on."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import DataError
from monitor.learning.datasets.tiling import Tiling
from monitor.learning.evaluate.metrics import area_under_roc
from monitor.learning.train.frozen.last_layer import (
    FOLDS,
    DefectViews,
    FrameFeatures,
    fit_last_layer,
    folds_of,
    frame_scores,
)
from tests.support.frame_truths import truth_of, with_rectangle

CHANNELS = 8


def features_of(labels: np.ndarray, seed: int = 0, contrast: float = 3.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    features = random.gamma(2, 1, (len(labels), CHANNELS)).astype(np.float32)
    features[labels, 2] += contrast
    return features


def test_the_layer_separates_what_one_feature_separates():
    labels = np.arange(60) % 3 == 0
    layer = fit_last_layer(features_of(labels, contrast=20), labels)
    scores = layer.scores(features_of(labels, seed=1, contrast=20))
    assert scores[labels].min() > scores[~labels].max()
    assert int(np.abs(layer.weights).argmax()) == 2


def test_scale_and_offset_of_the_features_do_not_change_the_scores():
    labels = np.arange(40) % 4 == 0
    features = features_of(labels)
    moved = features * 7 + 3
    np.testing.assert_allclose(
        fit_last_layer(features, labels).scores(features),
        fit_last_layer(moved, labels).scores(moved),
        atol=1e-4,
    )


def test_the_stored_layer_gives_the_same_scores():
    stored: list[Any] = []
    labels = np.arange(40) % 4 == 0
    features = features_of(labels)
    layer = fit_last_layer(features, labels)
    layer.store(SimpleNamespace(get_layer=lambda _: SimpleNamespace(set_weights=stored.extend)))
    kernel, bias = stored
    logits = features @ kernel + bias
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax[:, 1], layer.scores(features), atol=1e-5)


@pytest.mark.parametrize("label", [True, False])
def test_one_label_alone_is_refused(label: bool):
    with pytest.raises(DataError, match="both good and defective"):
        fit_last_layer(np.ones((5, CHANNELS), np.float32), np.full(5, label))


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=40))
def test_frames_of_one_key_share_a_fold_and_folds_are_even(frames: list[tuple[int, bool]]):
    keys = [str(key) for key, _ in frames]
    defective = np.array([label for _, label in frames])
    folds = folds_of(keys, defective)
    assert all(len({folds[i] for i, key in enumerate(keys) if key == one}) == 1 for one in keys)
    first = {key: folds[keys.index(key)] for key, label in zip(keys, defective, strict=True) if label}
    counts = np.bincount(list(first.values()), minlength=FOLDS) if first else np.zeros(FOLDS)
    assert counts.max() - counts.min() <= 1


def test_no_frame_is_scored_by_a_layer_that_knows_it():
    """With labels at random a layer knows its own images, and nothing of others."""
    labels = np.random.default_rng(3).random(200) < 0.5
    truths = [
        with_rectangle(5, 5, 20, 20) if label else truth_of(np.zeros((90, 120), bool)) for label in labels
    ]
    features = features_of(labels, contrast=0)
    frames = FrameFeatures.of(truths, Tiling(), features)
    keys = [str(number) for number in range(len(labels))]
    (unseen,) = frames.cross_validated(keys, labels)
    seen = frames.fit(np.ones(len(labels), bool)).scores(features)
    assert ((seen > 0.5) == labels).mean() > ((unseen > 0.5) == labels).mean()
    assert 0.35 < ((unseen > 0.5) == labels).mean() < 0.65


def test_without_masks_the_tile_that_differs_is_found_to_show_the_defect():
    defective = np.arange(40) % 2 == 0
    truths = [truth_of(np.zeros((90, 120), bool), is_known=not label) for label in defective]
    tiling = Tiling(tiles=(2, 2))
    shown = np.zeros(160, bool)
    shown[np.flatnonzero(defective) * 4 + np.arange(20) % 4] = True
    features = features_of(shown, contrast=8)
    frames = FrameFeatures.of(truths, tiling, features)
    assert (frames.label == np.repeat(np.where(defective, -1, 0), 4)).all()
    scores = frames.fit(np.ones(40, bool)).scores(features)
    assert (scores.reshape(40, 4)[defective].argmax(axis=1) == np.arange(20) % 4).all()
    per_frame = frame_scores(scores, np.arange(0, 160, 4))
    assert per_frame[defective].min() > per_frame[~defective].max()


def test_a_defect_learnt_on_one_background_is_found_on_others():
    """Backgrounds vary more than a defect changes them, and three defects show one background each."""
    random, channels = np.random.default_rng(5), 60
    shading = random.normal(0, 1, (12, channels))
    mark = np.float32(random.normal(0, 0.3, channels))

    def backgrounds(count: int) -> np.ndarray:
        return (20 + random.normal(0, 1, (count, 12)) @ shading).astype(np.float32)

    labels = np.arange(24) < 3
    background = backgrounds(24)
    features = background + np.outer(labels, mark).astype(np.float32)
    views = DefectViews(np.flatnonzero(labels), features[labels], background[labels])
    tiles = (np.arange(24), labels.astype(np.int8))
    plain = FrameFeatures(features, *tiles).fit(np.ones(24, bool))
    placed = FrameFeatures(features, *tiles, views=views).fit(np.ones(24, bool))
    truth = np.arange(400) >= 200
    others = backgrounds(400) + np.outer(truth, mark).astype(np.float32)
    assert area_under_roc(placed.scores(others).astype(float), truth) > 0.9
    assert area_under_roc(plain.scores(others).astype(float), truth) < 0.7
