"""How long a camera may be silent: three of its periods, or for ever if it is triggered or a file."""

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.frame_period import FramePeriod
from monitor.capture.sources.base import Source
from monitor.capture.sources.opening import open_source
from monitor.capture.worker.reader import FrameChecks
from monitor.errors import ImageError, SourceError, UnusableError, UsageError
from monitor.records import Image
from tests.support.rtsp_camera import Habits, RtspCamera, encode_film
from tests.support.scripted_camera import PICTURE, ScriptedSource, make, wait_for, whole

FILM = encode_film()


def read_to_end(source: Source) -> None:
    while source.read() is not None:
        pass


def slow(seconds: float, count: int) -> Iterator[object]:
    """A camera that delivers a frame every `seconds`."""
    for _ in range(count):
        yield PICTURE
        yield seconds


def test_a_camera_slower_than_its_silence_is_not_opened_again_and_again():
    camera, listener = make(
        lambda: ScriptedSource(slow(1.0, 6), live=True),
        frames="newest",
        stall_timeout=0.3,
        startup_timeout=5.0,
    )
    camera.start()
    wait_for(lambda: camera.next_frame_number >= 5)
    assert listener.states() == ["starting", "up"]
    assert camera.stop(5)


def test_a_camera_that_falls_silent_is_noticed_after_three_of_its_periods():
    release = threading.Event()
    steps = [*slow(0.3, 5), release.wait]
    camera, listener = make(
        lambda: ScriptedSource(steps, live=True), frames="newest", stall_timeout=0.1, startup_timeout=30.0
    )
    camera.start()
    wait_for(lambda: camera.next_frame_number == 5)
    began = time.monotonic()
    wait_for(lambda: "stalled stalled" in listener.states())
    assert 0.5 < time.monotonic() - began < 4
    release.set()
    camera.stop(5)


def test_a_triggered_camera_is_up_before_its_first_frame_and_silent_for_ever():
    release = threading.Event()
    camera, listener = make(
        lambda: ScriptedSource([release.wait, PICTURE, 1.5, PICTURE, 30.0], live=True),
        frames="newest",
        stall_timeout=0.0,
        startup_timeout=0.3,
    )
    camera.start()
    wait_for(lambda: listener.states() == ["starting", "up"])
    time.sleep(1.0)
    release.set()
    wait_for(lambda: camera.next_frame_number == 2)
    time.sleep(1.0)
    assert listener.states() == ["starting", "up"]
    assert listener.gaps == []
    camera.stop(1)


@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_finite_source_that_hangs_is_opened_once_whatever_came_before(before: int):
    release, opened = threading.Event(), []

    def open_source() -> ScriptedSource:
        opened.append(1)
        return ScriptedSource([*[PICTURE] * before, release.wait, PICTURE])

    camera, listener = make(open_source, reopen=False, finite=True, stall_timeout=0.3, startup_timeout=0.5)
    camera.start()
    wait_for(lambda: "stalled stalled" in listener.states())
    time.sleep(1.5)
    assert len(opened) == 1
    release.set()
    listener.consume(camera)
    assert [frame.number for frame in listener.taken] == list(range(before + 1))
    assert len(opened) == 1


def test_a_camera_that_delivers_only_unreadable_frames_is_no_longer_starting():
    steps = itertools.chain.from_iterable((ImageError("broken"), 0.02) for _ in range(1000))
    camera, listener = make(lambda: ScriptedSource(steps, live=True), frames="newest")
    camera.start()
    wait_for(lambda: "up" in listener.states())
    wait_for(lambda: listener.lost() > 0)
    assert {gap.cause for gap in listener.gaps} == {"unreadable"}
    camera.stop(5)


def test_an_image_that_needs_a_setting_is_unusable_and_says_which():
    steps = [UnusableError("values use 12 of 16 bits: set bit_depth = 12"), PICTURE]
    camera, listener = make(lambda: ScriptedSource(steps))
    camera.start()
    listener.consume(camera)
    (gap,) = listener.gaps
    assert (gap.cause, gap.frames) == ("unusable", 1)
    assert "bit_depth = 12" in (gap.detail or "")


def test_a_camera_of_the_wrong_size_is_misconfigured_until_the_size_is_right():
    small, large = np.zeros((2, 2, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)

    def views(image: Image) -> object:
        if image.shape[0] != 4:
            raise UsageError("the camera delivers 2x2 pixels, but expected_size is 4x4")
        return whole(image)

    steps = [large, small, small, large, small]
    camera, listener = make(lambda: ScriptedSource(steps), inspection=FrameChecks(views))
    camera.start()
    listener.consume(camera)
    assert [frame.number for frame in listener.taken] == [0, 3]
    assert listener.states() == [
        *("starting", "up", "misconfigured misconfigured"),
        *("up", "misconfigured misconfigured", "ended"),
    ]
    assert sum(gap.frames for gap in listener.gaps if gap.cause == "misconfigured") == 3
    assert "expected_size is 4x4" in (listener.changes[2].detail or "")


def test_a_stream_of_a_triggered_camera_waits_and_gives_out_the_last_frame_at_once():
    # Three frames at once, then one 3 s later: far beyond the read timeout of a camera that is not triggered.
    habits = Habits(is_due=lambda number: 0.1 * number if number < 3 else 3.0, frames=4)
    with RtspCamera(habits, FILM) as camera:
        source = open_source(camera.url, read_timeout=1, triggered=True)
        began = time.monotonic()
        times = []
        for _ in range(4):
            assert source.read() is not None
            times.append(time.monotonic() - began)
        source.close()
    assert times[3] - times[2] > 1.5, "the last frame before a pause is not held back until the next one"
    assert 2.0 < times[3] < 4.5


def test_a_stream_slower_than_its_read_timeout_is_read():
    with RtspCamera(Habits(fps=0.5, frames=4), FILM) as camera:
        source = open_source(camera.url, open_timeout=10, read_timeout=1)
        assert all(source.read() is not None for _ in range(3))
        source.close()


def test_a_stream_that_falls_silent_is_a_timeout():
    with RtspCamera(Habits(frames=10), FILM) as camera:
        source = open_source(camera.url, open_timeout=5, read_timeout=1)
        began = time.monotonic()
        with pytest.raises(SourceError) as caught:
            read_to_end(source)
        source.close()
    assert caught.value.cause == "timeout"
    assert time.monotonic() - began < 5


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.floats(0.1, 10), st.floats(1, 100))
def test_silence_is_at_least_three_periods(steps: list[float], wanted: float, unknown: float):
    period, at = FramePeriod(), 1000.0
    assert period.max_silence(wanted, unknown) == max(wanted, unknown)
    period.frame_arrived(at)
    for step in steps:
        at += step
        period.frame_arrived(at)
        assert period.max_silence(wanted, unknown) >= 3 * step * 0.999
        assert period.max_silence(wanted, unknown) >= wanted


@given(st.floats(0.5, 1000), st.floats(0.1, 5))
def test_a_period_that_is_longer_than_the_limit_is_found_after_few_openings(
    true_period: float, wanted: float
):
    period, openings = FramePeriod(), 0
    while (limit := period.max_silence(wanted, wanted)) < true_period:
        period.restart()
        period.frame_arrived(0.0)
        period.silence_ended(limit)
        openings += 1
    assert openings <= 10


def test_the_reader_of_a_file_never_stalls_for_its_own_pauses(tmp_path: Path):
    camera, listener = make(lambda: ScriptedSource([PICTURE] * 3, interval=0.8), stall_timeout=0.1)
    camera.start()
    listener.consume(camera)
    assert listener.states() == ["starting", "up", "ended"]
