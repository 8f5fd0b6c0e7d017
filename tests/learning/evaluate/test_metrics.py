"""Metrics of scores against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from monitor.learning.evaluate import metrics as s

# Few distinct values, so that ties are common.
SCORES = st.integers(0, 20).map(lambda n: n / 20)


SETS = st.lists(st.tuples(SCORES, st.booleans()), max_size=30).map(
    lambda rows: (np.array([r[0] for r in rows], float), np.array([r[1] for r in rows], bool))
)


MIXED = SETS.filter(lambda pair: pair[1].any() and not pair[1].all())


HAND_SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.3])


HAND_DEFECTIVE = np.array([True, False, True, True, False])


@given(MIXED)
def test_area_under_roc_is_the_share_of_pairs_in_the_right_order(pair):
    scores, defective = pair
    wins = [1.0 if d > g else 0.5 if d == g else 0.0 for d in scores[defective] for g in scores[~defective]]
    assert s.area_under_roc(scores, defective) == pytest.approx(np.mean(wins), abs=1e-12)


@given(MIXED)
def test_area_under_roc_is_the_area_under_the_drawn_roc(pair):
    x, y = s.roc(*pair)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(x) >= 0)
    assert np.all(np.diff(y) >= 0)
    assert np.trapezoid(y, x) == pytest.approx(s.area_under_roc(*pair), abs=1e-12)


@given(SETS.filter(lambda pair: pair[1].any()))
def test_average_precision_follows_its_definition_threshold_by_threshold(pair):
    scores, defective = pair
    expected, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        flagged = scores >= threshold
        found = (flagged & defective).sum() / defective.sum()
        expected += (found - before) * (flagged & defective).sum() / flagged.sum()
        before = found
    assert s.average_precision(scores, defective) == pytest.approx(expected, abs=1e-12)


def test_a_case_worked_by_hand():
    # Defects 0.9, 0.7, 0.6; good 0.8, 0.3. Pairs in order: 0.9 beats both, 0.7 and 0.6 beat one: 4 of 6.
    assert s.area_under_roc(HAND_SCORES, HAND_DEFECTIVE) == pytest.approx(4 / 6)
    assert s.average_precision(HAND_SCORES, HAND_DEFECTIVE) == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)
    assert s.recall(HAND_SCORES, HAND_DEFECTIVE, 0.7) == pytest.approx(2 / 3)
    assert s.false_alarm_rate(HAND_SCORES, HAND_DEFECTIVE, 0.7) == pytest.approx(1 / 2)
    assert s.recall_without_false_alarm(HAND_SCORES, HAND_DEFECTIVE) == pytest.approx(1 / 3)
    assert s.margin(HAND_SCORES, HAND_DEFECTIVE) == pytest.approx(0.6 - 0.8)


def test_calibration_error_worked_by_hand():
    # Bin 0.1..0.2 holds 0.15 good and 0.17 defective: mean 0.16 against 0.5. Bin 0.9..1 holds 1.0, a defect.
    scores, defective = np.array([0.15, 0.17, 1.0]), np.array([False, True, True])
    assert s.calibration_error(scores, defective) == pytest.approx(2 / 3 * (0.5 - 0.16))


@given(MIXED)
def test_calibration_error_is_the_gap_of_each_bin_weighed_by_its_size(pair):
    scores, defective = pair
    expected = 0.0
    for low in range(10):
        inside = (np.floor(scores * 10) == low) | ((scores == 1) & (low == 9))
        if inside.any():
            expected += inside.mean() * abs(scores[inside].mean() - defective[inside].mean())
    assert s.calibration_error(scores, defective) == pytest.approx(expected, abs=1e-12)


@given(MIXED, st.randoms(use_true_random=False))
def test_no_measure_depends_on_the_order_of_the_pictures(pair, random):
    scores, defective = pair
    order = np.array(random.sample(range(scores.size), scores.size))
    for measure in (
        s.area_under_roc,
        s.average_precision,
        s.recall_without_false_alarm,
        s.margin,
        s.calibration_error,
    ):
        assert measure(scores[order], defective[order]) == pytest.approx(
            measure(scores, defective), abs=1e-12
        )


@given(MIXED)
def test_a_positive_margin_means_that_every_measure_is_perfect(pair):
    perfect = s.margin(*pair) > 0
    assert perfect == (s.area_under_roc(*pair) == 1)
    assert perfect == (s.recall_without_false_alarm(*pair) == 1)
    if perfect:
        assert s.average_precision(*pair) == 1


def test_at_the_threshold_counts_as_a_defect():
    scores, defective = np.array([0.5, 0.5]), np.array([True, False])
    assert s.recall(scores, defective, 0.5) == 1
    assert s.false_alarm_rate(scores, defective, 0.5) == 1


@pytest.mark.parametrize("flag", [True, False])
def test_a_measure_without_one_of_its_classes_is_not_a_number(flag):
    summary = s.classification(np.array([0.2, 0.7]), np.array([flag, flag]), 0.5, repeats=10)
    assert math.isnan(summary.auc.value)
    assert math.isnan(summary.margin.low)
    assert math.isnan(summary.recall_without_false_alarm.value)
    assert math.isnan(summary.recall.value) is not flag
    assert math.isnan(summary.average_precision.value) is not flag
    assert not math.isnan(summary.calibration_error.value)


def test_classification_counts_agree_with_its_rates():
    summary = s.classification(HAND_SCORES, HAND_DEFECTIVE, 0.65, repeats=10)
    assert (summary.good, summary.defects, summary.misses, summary.false_alarms) == (2, 3, 1, 1)
    assert summary.recall.value == pytest.approx(2 / 3)
    assert summary.false_alarm_rate.value == pytest.approx(1 / 2)
    assert (summary.lowest_defect, summary.highest_good) == (0.6, 0.8)


@given(MIXED, st.integers(0, 3))
def test_the_bootstrap_repeats_itself_and_stays_within_what_its_sets_can_give(pair, seed):
    scores, defective = pair
    draw = [
        s.bootstrap(lambda i: s.area_under_roc(scores[i], defective[i]), defective, repeats=20, seed=seed)
        for _ in range(2)
    ]
    assert draw[0] == draw[1]
    assert 0 <= draw[0].low <= draw[0].high <= 1


def test_bootstrap_sets_keep_the_number_of_defects():
    defective = np.array([True] * 3 + [False] * 17)
    seen: set[int] = set()

    def count(indices):
        seen.add(int(defective[indices].sum()))
        return float(indices.mean())

    estimate = s.bootstrap(count, defective, repeats=50)
    assert seen == {3}
    assert estimate.low < estimate.value < estimate.high


def test_a_bootstrap_interval_of_a_mean_is_about_as_wide_as_theory_says():
    values = np.random.default_rng(5).normal(size=400)
    estimate = s.bootstrap(lambda i: float(values[i].mean()), np.zeros(400, bool), repeats=2000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert estimate.high - estimate.value == pytest.approx(half, rel=0.1)
    assert estimate.value - estimate.low == pytest.approx(half, rel=0.1)


def test_wilson_bounds_are_those_of_the_textbook():
    # Agresti and Coull 1998: 0 of 10 gives 0..0.278, 5 of 10 gives 0.237..0.763.
    assert s.wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-3)
    assert s.wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-3)
    assert s.wilson(12, 12)[0] == pytest.approx(0.7575, abs=1e-3)


@given(arrays.arrays(bool, st.integers(1, 40)))
def test_wilson_bounds_hold_the_share_that_was_seen(flags):
    low, high = s.wilson(int(flags.sum()), flags.size)
    assert 0 <= low <= flags.mean() <= high <= 1
    assert (low == 0) == (not flags.any())
    assert (high == 1) == flags.all()
