"""Exact tests, against published tables and against enumeration."""

from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.learning.evaluate.paired_tests import (
    binomial_cdf,
    clopper_pearson,
    images_needed,
    images_to_exclude,
    mcnemar,
)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 10, 0.0, 0.3085), (1, 10, 0.0025, 0.4450), (5, 10, 0.1871, 0.8129), (12, 12, 0.7354, 1.0)],
)
def test_bounds_are_those_of_the_tables(hits: int, trials: int, low: float, high: float):
    assert clopper_pearson(hits, trials) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 60), st.data())
def test_bounds_hold_the_fraction_and_mirror(trials: int, data: st.DataObject):
    hits = data.draw(st.integers(0, trials))
    low, high = clopper_pearson(hits, trials)
    assert low <= hits / trials <= high
    assert clopper_pearson(trials - hits, trials) == pytest.approx((1 - high, 1 - low), abs=1e-6)


@given(st.integers(0, 30), st.integers(1, 30), st.floats(0.01, 0.99))
def test_the_distribution_is_the_sum_of_its_terms(hits: int, trials: int, chance: float):
    terms = (comb(trials, i) * chance**i * (1 - chance) ** (trials - i) for i in range(min(hits, trials) + 1))
    assert binomial_cdf(hits, trials, chance) == pytest.approx(sum(terms), abs=1e-9)


@pytest.mark.parametrize(("gains", "losses"), [(0, 0), (6, 0), (5, 0), (3, 4), (1, 9)])
def test_p_is_the_share_of_splits_by_chance_that_are_as_uneven(gains: int, losses: int):
    count, uneven = gains + losses, abs(gains - losses)
    splits = list(product((0, 1), repeat=count))
    expected = sum(abs(2 * sum(one) - count) >= uneven for one in splits) / len(splits)
    assert mcnemar(gains, losses) == pytest.approx(expected)
    assert mcnemar(gains, losses) == mcnemar(losses, gains)


def test_six_differing_verdicts_on_one_side_are_the_fewest_that_prove_anything():
    assert mcnemar(5, 0) > 0.05
    assert mcnemar(6, 0) < 0.05
    assert images_needed(2, 0, 10) == 30
    assert images_needed(3, 3, 10) is None
    assert images_needed(0, 0, 10) is None


@given(st.integers(1, 20), st.integers(0, 4), st.integers(30, 60))
def test_a_more_uneven_split_needs_no_more_images(gains: int, losses: int, images: int):
    if gains <= losses:
        return
    one, other = images_needed(gains, losses, images), images_needed(gains + 1, losses, images)
    assert other is not None
    assert one is None or other <= one


def test_without_a_loss_the_rule_of_three_says_how_many_images():
    assert images_to_exclude(0.05) == 59
    assert images_to_exclude(0.01) == 299
