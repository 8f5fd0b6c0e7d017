"""The next frame of a camera is expected a gap after its last one, as long as its frames come."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.inference.scheduler import ArrivalPredictor


def heard(
    gap: float, count: int = 20, *, camera: str = "one", arrivals: ArrivalPredictor | None = None
) -> ArrivalPredictor:
    """A camera whose last of `count` frames came at 0."""
    arrivals = arrivals or ArrivalPredictor()
    for number in range(count):
        arrivals.record_arrival(camera, (number - count + 1) * gap)
    return arrivals


def test_nothing_is_expected_of_cameras_that_nothing_is_known_of() -> None:
    arrivals = ArrivalPredictor()
    assert arrivals.forecast(5.0) == (math.inf, 0)
    arrivals.record_arrival("one", 1.0)
    assert arrivals.forecast(1.1) == (math.inf, 0)


@given(st.floats(0.01, 10), st.floats(0, 1.1))
def test_the_next_frame_is_expected_a_gap_after_the_last(gap: float, passed: float) -> None:
    assert heard(gap).forecast(passed * gap) == pytest.approx(((1 - passed) * gap, gap))


@given(st.floats(0.01, 10), st.integers(0, 8), st.floats(-0.8, 0.9))
def test_one_frame_that_came_early_or_late_changes_no_rhythm(gap: float, which: int, by: float) -> None:
    arrivals = ArrivalPredictor()
    for number in range(10):
        arrivals.record_arrival("one", (number + (by if number == which else 0)) * gap)
    assert arrivals.forecast(9 * gap) == pytest.approx((gap, gap))


def test_a_frame_that_does_not_come_is_not_waited_for() -> None:
    arrivals = heard(1.0)
    assert arrivals.forecast(1.1) == pytest.approx((-0.1, 1.0))
    assert arrivals.forecast(1.2) == pytest.approx((0.8, 1.0))


def test_a_camera_that_fell_silent_is_in_nobodys_way_until_it_is_back() -> None:
    arrivals = heard(1.0)
    assert arrivals.forecast(10.0) == (math.inf, 0)
    assert arrivals.forecast(0.5) == (math.inf, 0), "it is forgotten"
    for at in (20.0, 20.5, 21.0):
        arrivals.record_arrival("one", at)
    assert arrivals.forecast(21.0) == pytest.approx((0.5, 0.5))


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=8), st.floats(0, 0.9))
def test_of_all_cameras_the_first_counts_and_their_rates_add_up(gaps: list[float], passed: float) -> None:
    arrivals, now = ArrivalPredictor(), passed * min(gaps)
    for number, gap in enumerate(gaps):
        heard(gap, camera=str(number), arrivals=arrivals)
    rate = sum(1 / gap for gap in gaps)
    assert arrivals.forecast(now) == pytest.approx((min(gaps) - now, 1 / rate))


def test_a_frame_that_waits_comes_before_all_that_are_expected() -> None:
    arrivals = heard(1.0)
    arrivals.set_idle(False)
    assert arrivals.forecast(0.5) == (-math.inf, pytest.approx(1.0))
    assert ArrivalPredictor().forecast(0.5) == (math.inf, 0)


def test_frames_at_one_moment_are_no_rhythm_that_cannot_be_reckoned_with() -> None:
    arrivals = ArrivalPredictor()
    for _ in range(9):
        arrivals.record_arrival("file", 3.0)
    within, gap = arrivals.forecast(3.0)
    assert 0 < within <= gap < 0.01
