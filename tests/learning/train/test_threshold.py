"""The threshold: between kinds that keep apart, by cost where they overlap, never at an end of the scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import UsageError
from monitor.learning.evaluate.costs import Costs
from monitor.learning.train.threshold import choose_threshold

SCORES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20)


def chosen(good, defects, costs=None, degraded=None):
    labels = np.array([False] * len(good) + [True] * len(defects))
    return choose_threshold(
        np.float32([*good, *defects]),
        labels,
        costs or Costs(),
        degraded=None if degraded is None else np.float32(degraded),
    )


@given(SCORES, SCORES)
def test_it_lies_inside_the_scale_and_its_figures_are_those_counted(good, defects):
    found = chosen(good, defects)
    assert 0 < found.value < 1
    missed = sum(score < found.value for score in np.float32(defects))
    alarms = sum(score >= found.value for score in np.float32(good))
    assert found.figures["expected_miss_rate"] == pytest.approx(missed / len(defects))
    assert found.figures["expected_false_alarm_rate"] == pytest.approx(alarms / len(good))
    assert found.figures["expected_miss_rate"] <= found.figures["expected_miss_rate_high"] <= 1
    assert (
        found.figures["expected_cost_low"]
        <= found.figures["expected_cost"]
        <= found.figures["expected_cost_high"]
    )


@given(
    st.lists(st.floats(0, 0.375, width=32), min_size=1, max_size=20),
    st.lists(st.floats(0.625, 1, width=32), min_size=1, max_size=20),
)
def test_where_the_kinds_keep_apart_there_is_neither_a_miss_nor_a_false_alarm(good, defects):
    assert max(good) < chosen(good, defects).value <= min(defects)


@pytest.mark.parametrize(
    ("good", "defects"),
    [
        ([0.1, 0.97], [0.99, 0.999]),  # a bound of 0.95 would flag a good frame
        ([0.001, 0.002], [0.004, 0.9]),
        ([0.9995, 0.2], [0.9999, 0.9998]),
    ],
)
def test_kinds_that_keep_apart_near_an_end_of_the_scale_are_told_apart(good, defects):
    assert max(good) < chosen(good, defects).value <= min(defects)


def test_a_defect_scored_zero_does_not_flag_everything():
    good = np.linspace(0.01, 0.2, 90)
    found = chosen(good, [0.0] + [0.95] * 29)
    assert 0.2 < found.value <= 0.95
    assert found.figures["expected_false_alarm_rate"] == 0


def test_one_sliver_of_a_defect_is_not_worth_a_quarter_of_false_alarms():
    good = [*np.linspace(0.001, 0.05, 84), *np.linspace(0.1, 0.3, 28)]
    found = chosen(good, [0.097, *np.linspace(0.56, 1, 29)])
    assert found.figures["expected_false_alarm_rate"] < 0.02
    assert found.figures["expected_miss_rate"] == pytest.approx(1 / 30)


@given(SCORES, SCORES, st.floats(1, 1000), st.floats(1, 100))
def test_a_dearer_miss_never_raises_the_threshold(good, defects, cost, factor):
    cheap = chosen(good, defects, Costs(miss=cost))
    dear = chosen(good, defects, Costs(miss=cost * factor))
    assert dear.value <= cheap.value + 1e-3


def test_degraded_frames_move_it_within_the_gap():
    good, defects = [0.02, 0.05, 0.03], [0.95, 0.97, 0.99]
    clean = chosen(good, defects).value
    fainter = chosen(good, defects, degraded=[0.02, 0.05, 0.03, 0.3, 0.4, 0.5]).value
    brighter = chosen(good, defects, degraded=[0.5, 0.6, 0.7, 0.95, 0.97, 0.99]).value
    assert 0.05 < fainter < clean < brighter <= 0.95


@pytest.mark.parametrize("costs", [{"miss": 0}, {"alarm": -1}, {"prevalence": 0}, {"prevalence": 1}])
def test_costs_that_make_no_sense_are_refused(costs):
    with pytest.raises(UsageError):
        Costs(**costs)
