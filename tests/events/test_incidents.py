"""Frames of one defect carry one incident, and every incident that starts ends once."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events.event import Event
from monitor.events.incidents import GRACE, IncidentReport, IncidentTracker, IncidentWindow
from tests.support.events import BEGIN, make_event

TEMPLATE = make_event()


Box = tuple[int, int, int, int]


def event(number: int, *boxes: Box, seconds: float | None = None, camera: str = "top") -> Event:
    place = TEMPLATE.regions[0]
    at = 0.1 * number if seconds is None else seconds
    return TEMPLATE.model_copy(
        update={
            "id": f"{camera}-{number}-{at}",
            "camera": camera,
            "frame_number": number,
            "captured_at": BEGIN + timedelta(seconds=at),
            "regions": tuple(
                place.model_copy(update={"x": x, "y": y, "width": w, "height": h}) for x, y, w, h in boxes
            ),
        }
    )


LEFT, RIGHT = (0, 0, 20, 20), (100, 0, 20, 20)


def phases(incidents: IncidentTracker, *events: Event) -> list[tuple[str, str]]:
    return [(found.id, found.phase) for found in map(incidents.observe, events)]


def reports(incidents: IncidentTracker) -> list[IncidentReport]:
    """All reports that are not published."""
    return list(iter(incidents.pop_report, None))


def test_frames_that_overlap_are_one_incident_and_others_are_not() -> None:
    a, b, c, d = event(0, LEFT), event(1, RIGHT), event(2, (15, 15, 9, 9)), event(3, RIGHT, (0, 50, 9, 9))
    assert phases(IncidentTracker(IncidentWindow()), a, b, c, d) == [
        (a.id, "start"),
        (b.id, "start"),
        (a.id, "update"),
        (b.id, "update"),
    ]


def test_boxes_that_only_touch_do_not_overlap() -> None:
    a, b = event(0, LEFT), event(1, (20, 0, 20, 20))
    assert phases(IncidentTracker(IncidentWindow()), a, b) == [(a.id, "start"), (b.id, "start")]


def test_a_frame_without_places_may_show_any_defect() -> None:
    a, b, c = event(0, LEFT), event(1), event(2, RIGHT)
    assert phases(IncidentTracker(IncidentWindow()), a, b, c) == [
        (a.id, "start"),
        (a.id, "update"),
        (a.id, "update"),
    ]


def test_cameras_are_kept_apart() -> None:
    a, b = event(0, LEFT), event(1, LEFT, camera="side")
    assert phases(IncidentTracker(IncidentWindow()), a, b) == [(a.id, "start"), (b.id, "start")]


@pytest.mark.parametrize(
    ("window", "later"),
    [(IncidentWindow(seconds=2), event(3, LEFT, seconds=2.1)), (IncidentWindow(frames=2), event(3, LEFT))],
)
def test_a_frame_beyond_the_window_ends_the_old_incident_and_starts_a_new_one(
    window: IncidentWindow, later: Event
) -> None:
    incidents = IncidentTracker(window)
    first = event(0, LEFT)
    incidents.observe(first)
    reports(incidents)
    assert incidents.observe(later).phase == "start"
    assert [(it.id, it.phase) for it in reports(incidents)] == [(first.id, "end"), (later.id, "start")]


def test_a_defect_that_moves_with_the_surface_is_one_incident() -> None:
    events = [event(number, (0, 50 * number, 20, 20)) for number in (0, 1, 2, 5)]
    moving = IncidentTracker(IncidentWindow(shift={"top": (0.0, 50.0)}))
    assert {found for found, _ in phases(moving, *events)} == {events[0].id}
    standing = IncidentTracker(IncidentWindow())
    assert len({found for found, _ in phases(standing, *events)}) == 4


def test_the_end_comes_by_time_alone_and_once() -> None:
    incidents = IncidentTracker(IncidentWindow(seconds=2))
    incidents.observe(event(0, LEFT))
    incidents.observe(event(1, LEFT))
    reports(incidents)
    incidents.expire(BEGIN + timedelta(seconds=0.1 + 2 + GRACE))
    assert reports(incidents) == []
    incidents.expire(BEGIN + timedelta(seconds=0.2 + 2 + GRACE))
    (end,) = reports(incidents)
    assert (end.phase, end.events, end.first_event, end.last_event) == (
        "end",
        2,
        event(0, LEFT).id,
        event(1, LEFT).id,
    )
    incidents.expire(BEGIN + timedelta(days=1))
    assert reports(incidents) == []


def test_a_restart_goes_on_where_it_was() -> None:
    before = IncidentTracker(IncidentWindow())
    before.observe(event(70, LEFT))
    assert [it.phase for it in reports(before)] == ["start"]
    after = IncidentTracker(IncidentWindow(), before.state())
    found = after.observe(event(0, LEFT, seconds=7.5))
    assert (found.id, found.phase, reports(after)) == (event(70, LEFT).id, "update", [])
    silent = IncidentTracker(IncidentWindow(), before.state())
    silent.expire(BEGIN + timedelta(hours=1))
    (end,) = reports(silent)
    assert (end.phase, end.last_event) == ("end", event(70, LEFT).id)


def test_what_was_not_published_before_a_crash_is_published_after_it() -> None:
    before = IncidentTracker(IncidentWindow())
    before.observe(event(0, LEFT))
    before.observe(event(1, LEFT, seconds=60.0))
    published = before.pop_report()
    assert published is not None
    rest = reports(IncidentTracker(IncidentWindow(), before.state()))
    assert [(it.id, it.phase) for it in (published, *rest)] == [
        (event(0, LEFT).id, "start"),
        (event(0, LEFT).id, "end"),
        (event(1, LEFT, seconds=60.0).id, "start"),
    ]


@pytest.mark.parametrize("state", ["", "{", "[1]", '{"open": [{"report": {}}]}'])
def test_a_state_that_cannot_be_read_is_passed_over(state: str) -> None:
    incidents = IncidentTracker(IncidentWindow(), state)
    incidents.close_all()
    assert reports(incidents) == []


BOXES = st.lists(st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 30)] * 2), max_size=3)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 1.5), BOXES), max_size=25),
    st.integers(0, 25),
)
def test_every_incident_starts_and_ends_once_and_accounts_for_its_frames(
    frames: list[tuple[str, float, list[Box]]], restart: int
) -> None:
    incidents = IncidentTracker(IncidentWindow(seconds=1, frames=3))
    published: list[IncidentReport] = []
    given_to: dict[str, int] = {}
    at = 0.0
    for number, (camera, pause, boxes) in enumerate(frames):
        at += pause
        if number == restart:
            incidents = IncidentTracker(IncidentWindow(seconds=1, frames=3), incidents.state())
        found = incidents.observe(event(number, *boxes, seconds=at, camera=camera))
        assert (found.phase == "start") == (found.id not in given_to)
        given_to[found.id] = given_to.get(found.id, 0) + 1
        published += reports(incidents) if number % 2 else []
    incidents.close_all()
    published += reports(incidents)
    assert sorted(it.id for it in published if it.phase == "start") == sorted(given_to)
    assert {it.id: it.events for it in published if it.phase == "end"} == given_to
    assert len(published) == 2 * len(given_to)
