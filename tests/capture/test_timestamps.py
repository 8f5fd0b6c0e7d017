"""A time of capture is as near the truth as the least delay, whatever network and camera clock do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.worker.timestamps import CaptureTimestamper

PERIOD = 0.04


seconds = st.floats(0, 8)


anything = st.one_of(st.none(), st.floats(-1e6, 1e6))


def arrivals(delays: list[float]) -> list[float]:
    """When pictures taken every PERIOD arrive: late by their delays, and never before an earlier one."""
    times: list[float] = []
    for number, delay in enumerate(delays):
        times.append(max(number * PERIOD + delay, times[-1] if times else 0))
    return times


@given(st.lists(seconds, min_size=1, max_size=60), st.floats(-1e5, 1e5))
def test_the_error_is_the_least_delay_so_far(delays: list[float], start: float):
    clock = CaptureTimestamper(window=1000)
    least = float("inf")
    for number, arrival in enumerate(arrivals(delays)):
        taken = number * PERIOD
        least = min(least, arrival - taken)
        found = clock.timestamp(start + taken, arrival)
        assert (
            found == pytest.approx(taken + least, abs=1e-6) or found > taken + least
        )  # held by an earlier one
        assert taken - 1e-6 <= found <= arrival


@given(st.lists(seconds, min_size=1, max_size=60))
def test_one_picture_that_came_at_once_sets_all_later_ones_right(delays: list[float]):
    clock = CaptureTimestamper(window=1000)
    clock.timestamp(0.0, 0.0)
    for number, arrival in enumerate(arrivals([0.0, *delays])):
        assert clock.timestamp(number * PERIOD, arrival) == pytest.approx(number * PERIOD, abs=1e-6)


@given(st.lists(st.tuples(anything, st.floats(0, 100)), max_size=60))
def test_whatever_the_source_says_it_goes_neither_back_nor_beyond_the_arrival(steps):
    clock = CaptureTimestamper()
    arrival, last = 1000.0, float("-inf")
    for position, later in steps:
        arrival += later
        found = clock.timestamp(position, arrival)
        assert last <= found <= arrival
        last = found


@given(st.floats(-1e4, 1e4).filter(lambda step: abs(step) > 1), st.floats(0, 2))
def test_after_a_jump_of_the_sources_clock_it_is_right_again_at_once(step: float, delay: float):
    clock = CaptureTimestamper()
    for number in range(50):
        clock.timestamp(number * PERIOD, number * PERIOD + delay)
    at = 50 * PERIOD + 5
    assert (
        clock.timestamp(50 * PERIOD + step, at) == at or 0 < step < 5
    )  # a jump that a held up picture may explain
    assert clock.timestamp(51 * PERIOD + step - 20, at + PERIOD) == at + PERIOD


def test_a_clock_that_runs_slow_is_followed_within_the_window():
    clock, slow = CaptureTimestamper(window=10), 1 - 100e-6  # 100 parts in a million: a bad quartz
    worst = max(
        number * PERIOD - clock.timestamp(number * PERIOD * slow, number * PERIOD) for number in range(50_000)
    )
    assert worst < 0.0011


def test_without_positions_the_arrival_counts():
    clock = CaptureTimestamper()
    assert [clock.timestamp(None, at) for at in (1.0, 2.0, 5.5)] == [1.0, 2.0, 5.5]


def test_what_was_held_up_together_is_spread_out_again():
    clock = CaptureTimestamper()
    for number in range(25):
        clock.timestamp(number * PERIOD, number * PERIOD + 0.01)
    burst = [clock.timestamp(number * PERIOD, 3.0) for number in range(25, 70)]
    assert burst == pytest.approx([number * PERIOD + 0.01 for number in range(25, 70)])
