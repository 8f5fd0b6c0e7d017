"""A camera: nothing is lost uncounted, whatever source and consumer do; real processes: `test_worker.py`."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.capture.backoff import MAX_DELAY, reconnect_delays
from monitor.errors import DamagedError, ImageError, SourceError
from monitor.records import Image
from tests.support.scripted_camera import PICTURE, ScriptedSource, make, raiser, wait_for


def test_every_frame_arrives_once_and_in_order_from_a_finite_source():
    camera, listener = make(lambda: ScriptedSource([PICTURE] * 50), buffer=2)
    camera.start()
    listener.consume(camera, itertools.cycle([0.0, 0.002]))
    assert [frame.number for frame in listener.taken] == list(range(50))
    assert camera.next_frame_number == 50
    assert listener.gaps == []
    assert listener.states() == ["starting", "up", "ended"]


def test_a_fault_of_the_program_is_told_and_a_live_source_is_opened_again():
    sources: list[Exception | ScriptedSource] = [
        ZeroDivisionError("opening"),
        ScriptedSource([PICTURE, KeyError("reading")], live=True),
        ScriptedSource([PICTURE]),
    ]
    camera, listener = make(raiser(sources))
    camera.start()
    listener.consume(camera)
    assert [frame.number for frame in listener.taken] == [0, 1]
    assert listener.states() == ["starting", "down fault", "up", "down fault", "up", "ended"]


def test_a_source_is_held_back_when_every_frame_counts():
    reads = itertools.count()
    camera, _ = make(lambda: ScriptedSource((next(reads), PICTURE)[1] for _ in range(100)), buffer=4)
    camera.start()
    wait_for(lambda: camera.next_frame_number == 4)
    time.sleep(0.1)
    assert camera.next_frame_number == 4
    assert next(reads) == 4
    assert camera.stop(5)


def test_the_newest_frames_are_kept_and_the_others_reported():
    camera, listener = make(lambda: ScriptedSource([PICTURE] * 20), frames="newest", buffer=3)
    camera.start()
    wait_for(lambda: "ended" in listener.states())
    assert not camera.ended
    assert [frame.number for frame in camera.take(10)] == [17, 18, 19]
    assert camera.ended
    assert [(gap.first, gap.last, gap.frames, gap.cause) for gap in listener.gaps] == [
        (0, 16, 17, "overload")
    ]
    assert listener.gaps[0].started_at <= listener.gaps[0].ended_at


def test_a_bad_picture_is_a_gap_with_its_reason_and_reading_goes_on():
    camera, listener = make(lambda: ScriptedSource([PICTURE, ImageError("7.png: broken"), PICTURE]))
    camera.start()
    listener.consume(camera)
    assert [frame.number for frame in listener.taken] == [0, 2]
    (gap,) = listener.gaps
    assert (gap.first, gap.last, gap.frames) == (1, 1, 1)
    assert (gap.cause, gap.detail) == ("unreadable", "7.png: broken")


def test_a_damaged_frame_is_a_gap_of_its_own_cause():
    camera, listener = make(lambda: ScriptedSource([PICTURE, DamagedError("a slice is missing"), PICTURE]))
    camera.start()
    listener.consume(camera)
    assert [frame.number for frame in listener.taken] == [0, 2]
    (gap,) = listener.gaps
    assert (gap.cause, gap.detail, gap.numbers) == ("damaged", "a slice is missing", ((1, 1),))


def test_frames_that_a_source_lost_get_numbers_of_their_own():
    class Stamped(ScriptedSource):
        """Fifteen frames a second by its time stamps; frames 30 to 44 are missing."""

        stamps = iter([n / 15 for n in range(80) if not 30 <= n < 45])

        def read(self) -> Image | None:
            self.stream_time = next(self.stamps, None)
            return super().read()

    camera, listener = make(lambda: Stamped([PICTURE] * 65))
    camera.start()
    listener.consume(camera)
    assert camera.next_frame_number == 80
    (gap,) = listener.gaps
    assert (gap.cause, gap.frames, gap.numbers) == ("lost-upstream", 15, ((gap.first, gap.last),))
    numbers = [frame.number for frame in listener.taken]
    assert sorted([*numbers, *range(gap.first, gap.last + 1)]) == list(range(80))
    assert gap.first - 30 <= 17  # claimed once 16 regular intervals follow
    assert gap.started_at <= gap.ended_at


def test_a_live_source_that_fails_or_ends_is_opened_again_and_numbers_go_on():
    sources = [
        ScriptedSource([PICTURE, SourceError("gone", "pulled")], live=True),
        SourceError("refused", "closed"),
        SourceError("refused", "closed"),
        SourceError("timeout", "silent"),
        ScriptedSource([PICTURE, PICTURE], live=True),
        ScriptedSource([PICTURE]),
    ]
    camera, listener = make(raiser(list(sources)))
    camera.start()
    listener.consume(camera)
    assert [frame.number for frame in listener.taken] == [0, 1, 2, 3]
    assert listener.states() == [
        "starting",
        *("up", "down gone", "down refused", "down timeout"),
        *("up", "down end-of-stream"),
        *("up", "ended"),
    ]
    assert all(source.closed for source in sources if isinstance(source, ScriptedSource))


def test_a_finite_source_that_breaks_halfway_is_not_inspected_twice():
    opened = []
    steps = [PICTURE, SourceError("codec", "broken file"), PICTURE]
    camera, listener = make(lambda: opened.append(1) or ScriptedSource(steps))
    camera.start()
    listener.consume(camera)
    assert len(opened) == 1
    assert listener.states() == ["starting", "up", "down codec", "ended"]
    assert listener.changes[2].detail == "broken file"


def test_a_source_that_flaps_is_opened_with_growing_delays():
    asked = []

    def delays() -> Iterator[float]:
        for number in itertools.count():
            asked.append(number)
            yield 0.0

    scripts = [ScriptedSource([PICTURE], live=True) for _ in range(5)]
    camera, listener = make(raiser([*scripts, ScriptedSource([])]), delays=delays)
    camera.start()
    listener.consume(camera)
    assert asked == [0, 1, 2, 3, 4]


def test_stop_ends_a_long_wait_for_the_next_attempt():
    camera, listener = make(
        raiser([SourceError("refused", "closed")]), delays=lambda: itertools.repeat(3600.0)
    )
    camera.start()
    wait_for(lambda: len(listener.changes) == 2)
    assert camera.stop(5)
    assert listener.states() == ["starting", "down refused", "ended"]


def test_stop_ends_a_long_wait_for_a_slow_rate():
    camera, _ = make(lambda: ScriptedSource([PICTURE] * 9, interval=3600.0))
    camera.start()
    wait_for(lambda: camera.next_frame_number == 1)
    assert camera.stop(5)
    assert len(camera.take(9)) == 1


def test_stop_returns_in_time_when_a_read_hangs_and_the_late_frame_is_not_counted():
    release = threading.Event()
    steps = [PICTURE, ImageError("1.png: broken"), release.wait, PICTURE]
    camera, listener = make(lambda: ScriptedSource(steps, live=True))
    camera.start()
    wait_for(lambda: camera.next_frame_number == 2)
    began = time.monotonic()
    assert camera.stop(0.2) is False
    assert time.monotonic() - began < 5
    assert listener.lost() == 1
    told = list(listener.changes)
    release.set()
    wait_for(lambda: camera.stop(0.1))
    assert camera.next_frame_number == 2
    assert len(camera.take(9)) == 1
    assert camera.ended
    assert listener.changes == told


def test_what_was_lost_before_a_source_went_down_is_told_while_it_is_down():
    script = ScriptedSource([PICTURE, ImageError("1.png: broken"), SourceError("gone", "pulled")], live=True)
    camera, listener = make(raiser([script]), delays=lambda: itertools.repeat(3600.0))
    camera.start()
    wait_for(lambda: listener.lost() == 1)
    assert camera.stop(5)
    assert listener.lost() == 1


def test_frames_that_nobody_has_time_to_judge_are_told_when_they_are_abandoned():
    camera, listener = make(lambda: ScriptedSource([PICTURE] * 5), buffer=8)
    camera.start()
    wait_for(lambda: camera.next_frame_number == 5)
    camera.stop(5)
    listener.keep(camera.take(2))
    assert not camera.ended
    camera.drop_queued()
    assert camera.ended
    assert [(gap.first, gap.last, gap.frames, gap.cause) for gap in listener.gaps] == [(2, 4, 3, "stopping")]


def test_stop_before_start_and_twice_is_no_fault():
    camera, listener = make(lambda: ScriptedSource([]))
    assert camera.stop(1)
    assert camera.stop(1)
    assert camera.ended
    assert listener.states() == ["ended"]


def test_a_rate_is_kept_on_average_and_never_caught_up():
    reads: list[float] = []

    def steps() -> Iterator[object]:
        for number in range(12):
            if number == 6:
                yield 0.2
            reads.append(time.monotonic())
            yield PICTURE

    camera, listener = make(lambda: ScriptedSource(steps(), interval=0.02), buffer=20)
    camera.start()
    listener.consume(camera)
    assert reads[5] - reads[0] >= 5 * 0.02 - 0.005
    assert reads[11] - reads[6] >= 4 * 0.02 - 0.005, "after a pause it hurried"


def test_frames_are_stamped_after_the_read_on_both_clocks():
    camera, listener = make(lambda: ScriptedSource([0.05, PICTURE, 0.05, PICTURE]))
    before = time.monotonic()
    camera.start()
    listener.consume(camera)
    first, second = listener.taken
    assert first.monotonic - before >= 0.05
    assert second.monotonic - first.monotonic >= 0.05
    assert (
        abs((second.captured_at - first.captured_at).total_seconds() - (second.monotonic - first.monotonic))
        < 0.02
    )
    assert first.captured_at.utcoffset().total_seconds() == 0


def test_the_time_of_each_read_is_told():
    times: list[float] = []
    camera, listener = make(lambda: ScriptedSource([PICTURE, 0.05, PICTURE]), on_frame_read=times.append)
    camera.start()
    listener.consume(camera)
    assert len(times) == 2
    assert times[1] >= 0.05


STEP = st.one_of(
    st.just(PICTURE),
    st.just(PICTURE),
    st.builds(lambda: ImageError("bad.png: broken")),
    st.builds(lambda: DamagedError("a slice is missing")),
    st.floats(0.0, 0.004),
)


@settings(max_examples=40, deadline=None)
@given(
    runs=st.lists(st.lists(STEP, max_size=30), min_size=1, max_size=4),
    frames=st.sampled_from(["every", "newest"]),
    buffer=st.integers(1, 5),
    limit=st.integers(1, 4),
    pauses=st.lists(st.floats(0.0, 0.006), min_size=1, max_size=5),
    stop_after=st.none() | st.floats(0.0, 0.05),
)
def test_each_frame_is_either_taken_or_in_exactly_one_gap(
    *,
    runs: list[list[object]],
    frames: str,
    buffer: int,
    limit: int,
    pauses: list[float],
    stop_after: float | None,
):
    scripts = [ScriptedSource(run, live=True) for run in runs[:-1]] + [ScriptedSource(runs[-1])]
    camera, listener = make(raiser(list(scripts)), frames=frames, buffer=buffer)
    timer = threading.Timer(stop_after or 0.0, camera.stop, args=(20,)) if stop_after is not None else None
    camera.start()
    if timer:
        timer.start()
    listener.consume(camera, itertools.cycle(pauses), limit)
    if timer:
        timer.join()
    camera.stop(20)

    numbers = [frame.number for frame in listener.taken]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + listener.lost() == camera.next_frame_number
    assert all(number < camera.next_frame_number for number in numbers)
    lost = Counter({gap.cause: 0 for gap in listener.gaps})
    for gap in listener.gaps:
        lost[gap.cause] += gap.frames
        assert gap.started_at <= gap.ended_at
        if gap.frames == 0:
            assert gap.first is gap.last is None
            continue
        assert 0 <= gap.first <= gap.last < camera.next_frame_number
    named = [n for gap in listener.gaps for first, last in gap.numbers for n in range(first, last + 1)]
    assert sorted(numbers + named) == list(range(camera.next_frame_number))
    if frames == "every":
        assert set(+lost) <= {"unreadable", "damaged"}
    if stop_after is None:
        pictures = sum(step is PICTURE for run in runs for step in run)
        assert len(numbers) + lost["overload"] == pictures
        assert camera.next_frame_number == sum(not isinstance(step, float) for run in runs for step in run)
    assert listener.states()[-1] == "ended"
    assert listener.states().count("ended") == 1


def test_delays_begin_at_once_grow_and_stay_below_the_longest():
    delays = list(itertools.islice(reconnect_delays(), 12))
    assert delays[0] == 0
    assert 0.375 <= delays[1] <= 0.5
    assert all(MAX_DELAY * 0.75 <= delay <= MAX_DELAY for delay in delays[5:])
    assert len(set(delays[5:])) > 1, "without jitter all cameras knock together"


@pytest.mark.parametrize("frames", ["every", "newest"])
def test_a_camera_of_no_frames_ends(frames: str):
    camera, listener = make(lambda: ScriptedSource([]), frames=frames)
    camera.start()
    listener.consume(camera)
    assert camera.next_frame_number == 0
    assert listener.states() == ["starting", "ended"]
