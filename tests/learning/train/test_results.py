""""""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.learning.train.results import choose_threshold

SCORES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20)


def chosen(good: list[float], defects: list[float]) -> tuple[float, str]:
    labels = np.array([False] * len(good) + [True] * len(defects))
    return choose_threshold(np.float32(good + defects), labels)


@given(SCORES, SCORES)
def test_no_defect_of_the_validation_pictures_is_missed(good, defects):
    threshold, _ = chosen(good, defects)
    assert 0 <= threshold <= 1
    assert (np.float32(defects) >= threshold).all()


@given(
    st.lists(st.floats(0, 0.375, width=32), min_size=1), st.lists(st.floats(0.625, 1, width=32), min_size=1)
)
def test_where_the_kinds_keep_apart_there_is_no_false_alarm_either(good, defects):
    threshold, why = chosen(good, defects)
    assert max(good) < threshold <= min(defects)
    assert "no miss, no false alarm" in why


def test_it_lies_a_third_of_the_way_up_in_logits():
    threshold, _ = chosen([0.1, 0.02], [0.9, 0.99])
    # The logits are -2.1972 and 2.1972, a third of the way up lies -0.7324.
    assert threshold == pytest.approx(1 / (1 + np.exp(0.7324)), abs=1e-4)


def test_false_alarms_are_counted_where_the_kinds_overlap():
    threshold, why = chosen([0.1, 0.6, 0.95], [0.5, 0.9])
    assert threshold == 0.45
    assert "2 false alarms" in why
