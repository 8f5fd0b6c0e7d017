"""Each loss is reported once: by cause and camera, when a report makes sense."""

from dataclasses import replace
from datetime import datetime, timedelta

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from monitor.delivery.drops import DropCause, DropRecorder
from monitor.delivery.storage import Drop, DroppedKind
from monitor.events.coverage import coverage_schema, dropped_entry, parse_numbers
from tests.support.events import BEGIN


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def drop(camera: str, kind: DroppedKind, count: int = 1, at: float = 0.0) -> Drop:
    return Drop(camera, kind, after(at), after(at), count)


ONE = drop("top", "pictures")


def test_what_a_full_outbox_dropped_is_reported_once_there_is_room_with_its_capture_times() -> None:
    drops = DropRecorder()
    assert drops.record("outbox-full", [drop("top", "events", 2, at=7), drop("side", "pictures", at=3)], 100)
    assert not drops.record("outbox-full", [drop("top", "events", 3, at=5)], 109)
    assert drops.pop_due(1000, room=False, hurried=True) == []
    side, top = drops.pop_due(1000, room=True)
    assert (side.camera, side.pictures, side.events, side.started_at) == ("side", 1, 0, after(3))
    assert (top.camera, top.pictures, top.events) == ("top", 0, 5)
    assert (top.started_at, top.ended_at, top.cause) == (after(5), after(7), "outbox-full")
    assert not drops.pending


def test_stripped_images_are_reported_after_a_pause_or_a_minute_and_not_one_by_one() -> None:
    drops = DropRecorder()
    reports = []
    for second in range(150):
        drops.record("picture-withheld", [ONE], second)
        reports += drops.pop_due(second, room=True)
    assert [report.pictures for report in reports] == [61, 61]
    assert drops.pop_due(150, room=True) == []
    assert [report.pictures for report in drops.pop_due(154, room=False)] == [28]


def test_at_the_end_all_is_reported_at_once() -> None:
    drops = DropRecorder()
    drops.record("picture-withheld", [ONE], 0)
    assert len(drops.pop_due(0, room=False, hurried=True)) == 1
    drops.record("picture-withheld", [ONE], 0)
    drops.record("outbox-too-old", [ONE], 0)
    assert [report.cause for report in drops.pop_all()] == ["outbox-too-old", "picture-withheld"]
    assert not drops.pending


def test_nothing_is_reported_of_nothing() -> None:
    drops = DropRecorder()
    assert not drops.record("outbox-full", [], 0)
    assert not drops.pending


CAUSES: tuple[DropCause, ...] = ("outbox-full", "outbox-too-old", "picture-withheld", "outbox-set-aside")
KINDS: tuple[DroppedKind, ...] = ("pictures", "events", "notices")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(CAUSES),
            st.sampled_from(("top", "side")),
            st.sampled_from(KINDS),
            st.integers(1, 5),
            st.booleans(),
        )
    )
)
def test_every_loss_is_reported_exactly_once_and_only_what_was_dropped_is_counted(
    lost: list[tuple[DropCause, str, DroppedKind, int, bool]],
) -> None:
    drops, reports = DropRecorder(), []
    for second, (cause, camera, kind, count, room) in enumerate(lost):
        drops.record(cause, [drop(camera, kind, count)], second)
        reports += drops.pop_due(second, room=room)
    reports += drops.pop_all()
    for wanted in KINDS:
        assert sum(getattr(report, wanted) for report in reports) == sum(
            count for _, _, kind, count, _ in lost if kind == wanted
        )
        assert drops.counts[wanted] == sum(
            count for cause, _, kind, count, _ in lost if kind == wanted and cause in CAUSES[:2]
        )


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 3)), min_size=1, max_size=700))
def test_a_report_names_the_frames_of_the_events_that_were_dropped(frames: list[tuple[int, int]]) -> None:
    """Exactly, or with frames in between where there are very many ranges."""
    drops = DropRecorder()
    for first, more in frames:
        ranges = ((first, first + more),)
        drops.record("outbox-full", [replace(drop("top", "events"), numbers=ranges)], 0)
    drops.record("outbox-full", [replace(drop("top", "verdicts", 3), numbers=((7, 9),)), ONE], 0)
    (report,) = drops.pop_all()
    named = {number for first, last in report.numbers for number in range(first, last + 1)}
    dropped = {number for first, more in frames for number in range(first, first + more + 1)}
    assert named >= dropped
    ranges = sum(number - 1 not in dropped for number in dropped)
    assert len(report.numbers) <= 500
    assert named == dropped or ranges > 250
    assert (report.verdicts, report.verdict_numbers) == (3, ((7, 9),))
    entry = dropped_entry(report)
    jsonschema.validate(entry, coverage_schema())
    assert set(parse_numbers(entry["numbers"])) == named
    assert entry["verdict_numbers"] == "7-9"
