"""The early exit is fitted so that no defect of the validation images comes near to clearly good."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.learning.train.screening import SAFETY, ValidationStatistics, calibrate, fit_weights


def test_the_fit_separates_what_a_line_separates_whatever_the_share_of_defects() -> None:
    random = np.random.default_rng(0)
    labels = (np.arange(300) % 20 == 0).astype(np.int32)
    statistics = random.normal(0, 1, (300, 5)).astype(np.float32)
    statistics[:, 2] += 8 * labels
    weights, bias = fit_weights(statistics, labels)
    logits = statistics @ weights + bias
    assert logits[labels == 1].min() > logits[labels == 0].max()
    assert logits[labels == 1].min() > 0 > logits[labels == 0].mean()


def test_statistics_that_never_vary_do_no_harm() -> None:
    statistics = np.ones((20, 3), np.float32)
    statistics[:, 0] = np.arange(20)
    weights, bias = fit_weights(statistics, (np.arange(20) > 9).astype(np.int32))
    assert np.isfinite([*weights, bias]).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.99), st.integers(0, 20))
def test_no_flagged_image_comes_nearer_than_the_safety(seed: int, threshold: float, flagged: int) -> None:
    random = np.random.default_rng(seed)
    scores = np.where(np.arange(60) < flagged, 1.0, 0.0).astype(np.float32)
    statistics = random.normal(0, 3, (60, 4)).astype(np.float32)
    weights, features = random.normal(0, 1, 4).astype(np.float32), random.random((60, 4), np.float32)
    screening, doubtful = calibrate(
        weights,
        0.1,
        random.random((90, 4), np.float32),
        ValidationStatistics(statistics, features, scores),
        threshold,
    )
    logit = np.log(threshold / (1 - threshold))
    highest = logit - screening.margin
    logits = statistics @ weights + 0.1
    assert screening.margin >= SAFETY - 1e-9
    assert (logits[:flagged] >= highest + SAFETY - 1e-4).all()
    good = slice(flagged, None)
    uncertain = (logits[good] >= highest) | screening.familiarity.is_novel(features[good])
    assert doubtful == uncertain.mean()
