"""The state of the last hour: losses by minute, outages that go on, what the daemon's absence means."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.web.state import MAX_CAMERAS, MINUTES, CameraStatus, Gap, LineState

NOW = datetime(2026, 11, 30, 12, 0, 30, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@given(st.lists(st.tuples(st.floats(0, 3500), st.floats(0, 2000), st.sampled_from(["down", "stalled"]))))
def test_the_seconds_of_outages_within_the_hour_add_up(outages):
    status = CameraStatus("left")
    expected = 0.0
    first = datetime(2026, 11, 30, 11, 1, tzinfo=UTC)  # the first minute that is shown
    for start, length, cause in outages:
        began, ended = ago(start + length), ago(start)
        status.add_gap(Gap(began, ended, 0, cause))
        expected += max(0.0, (ended - max(began, first)).total_seconds())
    total = sum(loss.seconds for loss in status.last_hour(NOW).totals.values())
    assert abs(total - expected) < 0.001 * (1 + len(outages))


def test_lost_frames_are_counted_once_in_their_minute():
    status = CameraStatus("left")
    status.add_gap(Gap(ago(61), ago(60), 7, "overload"))
    [minute] = status.coverage(NOW)
    assert (minute.age, minute.losses[0][0], minute.losses[0][1].frames) == (1, "overload", 7)
    assert not minute.is_whole


def test_an_outage_that_goes_on_is_shown_although_the_stream_has_no_gap_yet():
    state = LineState(["left"])
    state.add_coverage({"kind": "camera", "camera": "left", "state": "down", "at": ago(120).isoformat()})
    minutes = state.camera("left").coverage(NOW)
    assert [minute.age for minute in minutes] == [2, 1, 0]
    assert [minute.is_whole for minute in minutes] == [True, True, True]


def test_time_without_the_daemon_was_inspected_by_nobody():
    state = LineState(["left"])
    state.find_daemon({"left": "up"}, ago(300))
    state.lose_daemon("no answer", ago(200))
    assert state.camera("left").state == "unknown"
    state.find_daemon({"left": "up"}, ago(100))
    assert state.camera("left").state == "up"
    assert state.camera("left").last_hour(NOW).totals["daemon-away"].seconds == 100


def test_memory_does_not_grow_over_a_day():
    status = CameraStatus("left")
    for minute in range(24 * 60):
        at = NOW + timedelta(minutes=minute)
        status.add_gap(Gap(at, at, 3, "overload"))
        status.forget_before(at)
    assert len(status.coverage(at)) <= MINUTES
    assert len(status._losses) <= MINUTES


def test_a_flood_of_camera_names_does_not_fill_the_memory():
    state = LineState(["left"])
    for number in range(2 * MAX_CAMERAS):
        entry = {"kind": "camera", "camera": f"c{number}", "state": "up", "at": NOW.isoformat()}
        with suppress(ValueError):
            state.add_coverage(entry)
    assert len(state.cameras) == MAX_CAMERAS
