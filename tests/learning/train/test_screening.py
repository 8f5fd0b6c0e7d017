"""An early exit is kept only if no view that the network flags comes near to clearly good."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.inference.precision import shift_score
from monitor.learning.train import screening
from monitor.learning.train.screening import MARGIN, Views, calibrate, exit_scores, train_exit

THRESHOLD = 0.6


@pytest.fixture(scope="module")
def seen() -> Views:
    """Views of 16 channels; in defective ones three cells of the first channel stand out."""
    random = np.random.default_rng(0)
    maps = random.gamma(2, 1, (160, 16, 16, 16)).astype(np.float16)
    labels = np.arange(160) % 4 == 0
    targets = np.zeros((160, 8, 8), np.float32)
    for index in np.flatnonzero(labels):
        row, column = random.integers(0, 7, 2)
        targets[index, row : row + 2, column : column + 2] = 1
        maps[index, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4, 0] += 12
    return Views(maps, labels, targets, np.where(labels, 0.99, 0.01).astype(np.float32), np.arange(160) < 80)


@pytest.fixture(scope="module")
def weights(seen: Views) -> screening.Weights:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screening, "STEPS", 120)
        return train_exit(seen, THRESHOLD, 0)


def test_views_with_a_defect_score_above_all_others(seen: Views, weights: screening.Weights) -> None:
    scores = exit_scores(seen.maps, weights)
    assert scores[seen.labels].min() > scores[~seen.labels].max() + MARGIN


def test_the_limit_lies_below_every_flagged_view(seen: Views, weights: screening.Weights) -> None:
    found, report = calibrate(weights, seen, seen, THRESHOLD)
    assert found is not None, report
    assert report.startswith("early exit")
    assert found.limit == shift_score(THRESHOLD, -screening.NEAR)
    stored = list(zip(found.kernels, found.biases, strict=True))
    scores = 1 / (1 + np.exp(-exit_scores(seen.maps, stored)))
    assert (scores[seen.labels] > shift_score(found.limit, MARGIN - 1e-3)).all()
    assert (scores[~seen.labels & seen.recorded] < found.limit).mean() >= 1 - screening.MAX_DOUBTFUL


def test_one_familiar_view_that_is_flagged_though_it_looks_good_prevents_an_exit(
    seen: Views, weights: screening.Weights
) -> None:
    scores = seen.scores.copy()
    scores[np.flatnonzero(~seen.labels & ~seen.recorded)[0]] = THRESHOLD
    found, report = calibrate(weights, seen, replace(seen, scores=scores), THRESHOLD)
    assert found is None
    assert report.startswith("no early exit")
