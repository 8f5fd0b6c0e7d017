"""Scores near the threshold are doubtful, and flagged ones not near one; those at the ends are not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.inference.precision import PrecisionFallback, recheck_band, score_error


def logit(share: float) -> float:
    return math.log(share / (1 - share))


@given(st.floats(0, 1))
def test_flagged_scores_that_are_not_near_one_are_doubtful_and_the_ends_are_not(threshold: float) -> None:
    lowest, highest = recheck_band(threshold)
    assert 0 < lowest < threshold or threshold < 1e-5
    assert 0.9 <= highest < 1


@given(st.floats(1e-4, 1 - 1e-4), st.floats(-1.99, 1.99))
def test_a_score_whose_shift_could_change_the_verdict_is_doubtful(threshold: float, shift: float) -> None:
    lowest, highest = recheck_band(threshold)
    score = 1 / (1 + math.exp(-(logit(threshold) + shift)))
    assert lowest <= score <= highest


@given(st.floats(0.05, 0.95), st.floats(1.1, 4))
def test_single_precision_alone_is_asked_where_asking_twice_takes_longer(share: float, gain: float) -> None:
    doubt, some = PrecisionFallback(), np.random.default_rng(0)
    assert doubt.is_worthwhile(1.0, gain, 1), "nothing is doubtful yet"
    for _ in range(30):
        doubt.needs_recheck(
            np.where(some.random(50) < share, 0.5, 0.99).astype(np.float32), [(0.1, 0.9)] * 50
        )
    cost = 1 + share * gain
    if abs(cost - gain) > 0.5 * gain:  # beyond what 100 pictures leave open
        assert doubt.is_worthwhile(1.0, gain, 1) == (cost < gain)
    for _ in range(30):
        doubt.needs_recheck(np.full(50, 0.99, np.float32), [(0.1, 0.9)] * 50)
    assert doubt.is_worthwhile(1.0, gain, 1), "the surface is plain again"


def test_scores_at_the_ends_are_sure_and_the_two_limits_are_doubtful() -> None:
    scores = np.array([0.0, 0.099, 0.1, 0.5, 0.9, 0.901, 1.0], np.float32)
    doubt, bands = PrecisionFallback(), [(float(np.float32(0.1)), float(np.float32(0.9)))] * len(scores)
    assert doubt.needs_recheck(scores, bands).tolist() == [False, False, True, True, True, False, False]


def test_an_early_exit_that_answers_little_is_tried_again_once_in_a_while() -> None:
    doubt = PrecisionFallback(is_early_exit=True)
    doubt.needs_recheck(np.full(500, 0.5, np.float32), [(0.1, 0.9)] * 500)
    assert sum(doubt.is_worthwhile(1.0, 2.0, 1) for _ in range(500)) == 10


@given(st.floats(0.01, 0.99))
def test_an_early_exit_answers_for_thresholds_from_its_limit_on(limit: float) -> None:
    assert recheck_band(limit, limit) == (limit, 1.0)
    assert recheck_band(limit - 1e-6, limit) == (0.0, 1.0)


def test_a_score_of_an_early_exit_cannot_be_off_where_both_are_clean() -> None:
    given, expected = np.float32([0.1, 0.1, 0.6, 0.8]), np.float32([0.2, 0.7, 0.2, 0.9])
    assert score_error(given, expected, 0.5, "screened").round(3).tolist() == pytest.approx(
        [0, 0.6, 0.4, 0.1]
    )
    assert score_error(given, expected, 0.5, "fp32").round(3).tolist() == pytest.approx([0.1, 0.6, 0.4, 0.1])
