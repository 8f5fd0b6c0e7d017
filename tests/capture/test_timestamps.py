"""A time of capture is right within one frame period, or marked as the time of arrival."""

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.capture.sources.base import FrameStamp
from monitor.capture.worker.timestamps import CaptureEstimate, CaptureTimestamper

PERIOD = 0.04


class Simulated(NamedTuple):
    """A frame: when it was really captured and arrived, and what was made of it."""

    captured: float
    arrived: float
    found: CaptureEstimate


def run(
    captures: list[float],
    *,
    delay_of: Callable[[int], float] = lambda _: 0.005,
    clock: Callable[[int, float], float] = lambda _, captured: captured,
    reading: float = 0.001,
    shared: bool = False,
) -> list[Simulated]:
    """Frames captured at `captures` through a network that keeps their order, read in `reading` seconds each.

    `clock` stamps a frame from its number and when it was captured; a `shared` one is that of this machine.
    """
    timestamper, frames = CaptureTimestamper(), []
    delivered = read_at = 0.0
    for number, captured in enumerate(captures):
        delivered = max(delivered + 0.0001, captured + delay_of(number))
        asked_at = read_at + reading
        read_at = max(asked_at, delivered)
        stamp = clock(number, captured)
        found = timestamper.timestamp(
            FrameStamp(read_at, read_at - asked_at, 0.0 if shared else stamp, stamp if shared else None),
            read_at,
        )
        frames.append(Simulated(captured, read_at, found))
    return frames


def steady(count: int, period: float = PERIOD, start: float = 100.0) -> list[float]:
    return [start + number * period for number in range(count)]


def check(frames: list[Simulated], period: float, allowed_delay: float = 0.0) -> None:
    """Each time is right within one period, but for a delay that all frames have, or the arrival's."""
    last = float("-inf")
    for frame in frames:
        assert last <= frame.found.at <= frame.arrived
        last = frame.found.at
        if frame.found.by == "arrival":
            assert frame.found.at >= frame.captured - 1e-6
        else:
            assert -1e-6 - period <= frame.found.at - frame.captured <= period + allowed_delay + 1e-6


@settings(max_examples=60, deadline=None)
@given(
    rate=st.one_of(st.floats(0.2, 0.97), st.floats(1.03, 3.0), st.just(1.0), st.floats(0.9999, 1.0001)),
    period=st.sampled_from([0.02, 0.04, 0.1, 1.0]),
    jitter=st.floats(0.0, 0.4),
    seed=st.integers(0, 1000),
)
def test_a_clock_of_any_rate_never_tells_a_delay_of_more_than_a_period(
    rate: float, period: float, jitter: float, seed: int
):
    draw = random.Random(seed)
    frames = run(
        steady(600, period),
        delay_of=lambda _: 0.001 + draw.uniform(0, jitter * period),
        clock=lambda _, captured: captured * rate,
    )
    check(frames, period)
    assert all(frame.arrived - frame.found.at <= period * 1.01 for frame in frames)


def test_a_clock_at_084_of_real_time_drops_nothing_as_late():
    frames = run(steady(3060, 0.1), clock=lambda _, captured: captured * 0.84)
    assert max(frame.arrived - frame.found.at for frame in frames) <= 0.1
    assert {frame.found.by for frame in frames[40:]} == {"arrival"}


@pytest.mark.parametrize("nominal", [15, 30, 50])
def test_stamps_by_frame_count_at_the_wrong_rate_are_not_believed(nominal: int):
    frames = run(steady(2000), clock=lambda number, _: number / nominal)
    assert max(frame.arrived - frame.found.at for frame in frames) <= PERIOD
    assert sum(frame.found.by == "camera" for frame in frames) < 100


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.2, 9.0), min_size=20, max_size=80))
def test_a_triggered_camera_that_counts_frames_is_stamped_on_arrival(pauses: list[float]):
    captures, at = [], 100.0
    for pause in pauses:
        at += pause
        captures.append(at)
    frames = run(captures, clock=lambda number, _: number * 0.04)
    for frame in frames:
        assert frame.found.by == "arrival" or frame.arrived - frame.found.at <= 0.2
        assert frame.arrived - frame.found.at <= 0.2


def test_a_true_clock_is_used_after_the_probation():
    frames = run(steady(500))
    assert {frame.found.by for frame in frames[:45]} == {"arrival"}
    assert {frame.found.by for frame in frames[100:]} == {"camera"}
    check(frames, PERIOD)


@settings(max_examples=40, deadline=None)
@given(stall=st.floats(0.3, 8.0), at=st.integers(200, 300), drift=st.floats(-100e-6, 100e-6))
def test_frames_that_a_stall_held_up_get_their_own_times(stall: float, at: int, drift: float):
    start = 100 + at * PERIOD
    frames = run(
        steady(800),
        delay_of=lambda number: (
            max(0.005, start + stall - (100 + number * PERIOD)) if number >= at else 0.005
        ),
        clock=lambda _, captured: captured * (1 + drift),
    )
    check(frames, PERIOD)
    assert all(frame.found.by == "camera" for frame in frames[150:])
    assert frames[at].arrived - frames[at].found.at == pytest.approx(stall, abs=PERIOD)


def test_a_backlog_that_stays_is_no_part_of_the_clock_however_long_it_lasts():
    frames = run(steady(2000), delay_of=lambda _: 0.005, reading=0.001)
    assert frames[-1].found.by == "camera"
    # From now on reading takes a period: what has piled up in the meantime stays.
    timestamper = CaptureTimestamper()
    for number in range(100):
        timestamper.timestamp(FrameStamp(number * PERIOD, 0.03, number * PERIOD), number * PERIOD)
    for number in range(100, 2000):
        arrived = number * PERIOD + 2.0
        found = timestamper.timestamp(FrameStamp(arrived, 0.0, number * PERIOD), arrived)
    assert found.by == "camera"
    assert arrived - found.at == pytest.approx(2.0, abs=0.01)


def test_a_shared_clock_tells_a_delay_that_all_frames_have():
    frames = run(steady(500), delay_of=lambda _: 1.5, shared=True)
    assert frames[-1].found.by == "camera"
    assert frames[-1].found.at == pytest.approx(frames[-1].captured, abs=PERIOD)


@pytest.mark.parametrize("error", [-3600.0, -30.0, 0.5, 3600.0])
def test_a_shared_clock_that_is_wrong_is_only_compared(error: float):
    frames = run(steady(500), clock=lambda _, captured: captured + error, shared=True)
    check(frames, PERIOD)


@settings(max_examples=60, deadline=None)
@given(
    jump=st.one_of(st.floats(-1e4, -0.1), st.floats(0.1, 1e4)),
    at=st.integers(150, 200),
)
def test_after_a_jump_of_the_clock_no_delay_is_invented(jump: float, at: int):
    frames = run(steady(400), clock=lambda number, captured: captured + (jump if number >= at else 0))
    for frame in frames:
        assert frame.arrived - frame.found.at <= PERIOD * 1.01
    assert frames[-1].found.by == "camera"


def test_a_camera_that_changes_its_rate_and_goes_on_counting_is_not_believed_for_long():
    captures = steady(200) + steady(400, 0.08, start=100 + 200 * PERIOD)
    frames = run(captures, clock=lambda number, _: number * PERIOD)
    assert max(frame.arrived - frame.found.at for frame in frames) <= 0.08
    assert frames[-1].found.by == "arrival"


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.floats(-1e6, 1e6)),
            st.one_of(st.none(), st.floats(-1e6, 1e6)),
            st.floats(0, 20),
            st.floats(0, 20),
        ),
        max_size=80,
    )
)
def test_whatever_the_source_says_times_never_go_back_nor_beyond_the_arrival(steps):
    timestamper = CaptureTimestamper()
    arrival, last = 1000.0, float("-inf")
    for source_time, capture_time, waited, later in steps:
        arrival += later
        stamp = FrameStamp(arrival - min(later, 0.01), min(waited, later), source_time, capture_time)
        found = timestamper.timestamp(stamp, arrival)
        assert last <= found.at <= arrival
        last = found.at


def test_without_a_stamp_the_reading_counts():
    timestamper = CaptureTimestamper()
    assert [timestamper.timestamp(None, at) for at in (1.0, 2.0, 5.5)] == [
        (1.0, "arrival"),
        (2.0, "arrival"),
        (5.5, "arrival"),
    ]
