"""The next frame of a camera is expected a gap after its last one, as long as its frames come."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.pipeline.arrivals import TOLERATED, Arrivals


def heard(gap: float, count: int = 20, *, camera: str = "one", arrivals: Arrivals | None = None) -> Arrivals:
    """A camera whose last of `count` frames came at 0."""
    arrivals = arrivals or Arrivals()
    for number in range(count):
        arrivals.came(camera, (number - count + 1) * gap)
    return arrivals


def test_nothing_is_expected_of_cameras_that_nothing_is_known_of() -> None:
    arrivals = Arrivals()
    assert arrivals.room(5.0) == math.inf
    arrivals.came("one", 1.0)
    arrivals.came("one", 1.1)
    assert arrivals.room(1.15) == math.inf


@given(st.floats(0.01, 10), st.floats(0, 0.99))
def test_there_is_room_until_the_next_frame_and_what_it_may_wait(gap: float, passed: float) -> None:
    assert heard(gap).room(passed * gap) == pytest.approx((1 + TOLERATED - passed) * gap)


@given(st.floats(0.01, 10), st.integers(0, 8), st.floats(0.2, 5))
def test_one_frame_that_came_early_or_late_changes_no_rhythm(gap: float, which: int, factor: float) -> None:
    times = [number * gap for number in range(9)]
    if 0 < which < 8:
        times[which] += gap * min(0.9, factor - 1)
    arrivals = Arrivals()
    for at in times:
        arrivals.came("one", at)
    assert arrivals.room(times[-1]) == pytest.approx((1 + TOLERATED) * gap)


def test_a_frame_that_does_not_come_is_not_waited_for() -> None:
    arrivals = heard(1.0)
    assert arrivals.room(1.1) == pytest.approx(TOLERATED - 0.1)
    assert arrivals.room(1.2) == pytest.approx(0.8 + TOLERATED)


def test_a_camera_that_fell_silent_is_in_nobodys_way_until_it_is_back() -> None:
    arrivals = heard(1.0)
    assert arrivals.room(10.0) == math.inf
    assert arrivals.room(0.5) == math.inf, "it is forgotten"
    for at in (20.0, 20.5, 21.0):
        arrivals.came("one", at)
    assert arrivals.room(21.0) == pytest.approx((1 + TOLERATED) / 2)


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=8), st.floats(0, 0.9))
def test_the_first_of_all_cameras_counts(gaps: list[float], passed: float) -> None:
    arrivals, now = Arrivals(), passed * min(gaps)
    for number, gap in enumerate(gaps):
        heard(gap, camera=str(number), arrivals=arrivals)
    assert arrivals.room(now) == pytest.approx((1 + TOLERATED) * min(gaps) - now)


def test_frames_at_one_moment_are_no_rhythm_that_cannot_be_reckoned_with() -> None:
    arrivals = Arrivals()
    for _ in range(9):
        arrivals.came("file", 3.0)
    assert 0 < arrivals.room(3.0) < 0.01
