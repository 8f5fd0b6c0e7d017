"""Scores near the threshold, or far from both ends, are doubtful; those at the ends are not."""

import math

from hypothesis import given
from hypothesis import strategies as st

from monitor.classify.doubt import doubtful


def logit(share: float) -> float:
    return math.log(share / (1 - share))


@given(st.floats(0, 1))
def test_all_between_a_tenth_and_nine_tenths_is_doubtful_and_the_ends_are_not(threshold: float) -> None:
    lowest, highest = doubtful(threshold)
    assert 0 < lowest <= 0.1
    assert 0.9 <= highest < 1


@given(st.floats(1e-4, 1 - 1e-4), st.floats(-1.99, 1.99))
def test_a_score_whose_shift_could_change_the_verdict_is_doubtful(threshold: float, shift: float) -> None:
    lowest, highest = doubtful(threshold)
    score = 1 / (1 + math.exp(-(logit(threshold) + shift)))
    assert lowest <= score <= highest
