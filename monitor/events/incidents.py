"""Which flagged frames show the same defect: incidents, tracked camera by camera.

Pure: frames and times go in, phases come out. The caller stores the state between runs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from monitor.events.event import Document, Event, EventIncident, Share, Timestamp
from monitor.events.messages import NoticeMessage

Boxes = tuple[tuple[int, int, int, int], ...]
"""Boxes as x, y, width, height in pixels of the camera's frame; none: anywhere."""


GRACE = 5.0
"""Seconds beyond the window that a frame may be on its way before its incident is ended without it."""


class IncidentReport(Document):
    """An entry of the stream of incidents: one for its start, one for its end.

    A frame is an event, whose `incident` names this `id`; an end is no frame, so it appears only here.
    """

    version: Literal[1] = 1
    id: Annotated[str, Field(description="the id of the incident's first event")]
    phase: Literal["start", "end"]
    camera: str
    events: Annotated[int, Field(ge=1, description="flagged frames so far")]
    first_event: str
    last_event: str
    first_at: Timestamp
    last_at: Annotated[Timestamp, Field(description="capture of the last flagged frame")]
    peak_score: Share

    def notice(self) -> NoticeMessage:
        """Pack for the outbox; the same start or end has the same id."""
        fields = (("id", self.id), ("camera", self.camera), ("incident", self.model_dump_json()))
        return NoticeMessage(
            f"incident-{self.phase}-{self.id}", self.camera, fields, self.first_at, self.last_at, "incidents"
        )


class _Open(Document):
    """An incident that has not ended. `frame` is None after a restart, because frame numbers start again."""

    report: IncidentReport
    places: Boxes
    frame: int | None


class _State(Document):
    """What outlives a run: incidents that are open, and reports that are not published yet."""

    open: tuple[_Open, ...] = ()
    unpublished: tuple[IncidentReport, ...] = ()


@dataclass(frozen=True, slots=True)
class IncidentWindow:
    """When a flagged frame still belongs to an incident: by seconds and, where set, frames since its last.

    `shift` is by how many pixels (x, y) the surface moves from frame to frame, by camera.
    """

    seconds: float = 2.0
    frames: int | None = None
    shift: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class IncidentTracker:
    """Gives each flagged frame its incident, the oldest open one of its camera whose places overlap its own.

    `state` is what `state()` gave in an earlier run; one that cannot be read is ignored. One thread at a
    time.
    """

    def __init__(self, window: IncidentWindow, state: str | None = None) -> None:
        self._window = window
        try:
            restored = _State.model_validate_json(state) if state else _State()
        except ValueError:
            restored = _State()
        self._pending = list(restored.unpublished)
        self._open = [
            # How far the surface has moved meanwhile is not known, so it may be anywhere.
            _Open(report=it.report, places=() if it.report.camera in window.shift else it.places, frame=None)
            for it in restored.open
        ]

    def state(self) -> str:
        """Return what the next run has to know."""
        return _State(open=tuple(self._open), unpublished=tuple(self._pending)).model_dump_json()

    def pop_report(self) -> IncidentReport | None:
        """Return the oldest report that has not been returned yet; it counts as published from here on."""
        return self._pending.pop(0) if self._pending else None

    def observe(self, event: Event) -> EventIncident:
        """Return the frame's incident; report those that it starts or ends."""
        self._end(lambda it: it.report.camera == event.camera and self._expired(it, event))
        places: Boxes = tuple((r.x, r.y, r.width, r.height) for r in event.regions)
        for index, it in enumerate(self._open):
            if it.report.camera == event.camera and self._overlaps(it, places, event.frame_number):
                report = it.report.model_copy(
                    update={
                        "events": it.report.events + 1,
                        "last_event": event.id,
                        "last_at": max(it.report.last_at, event.captured_at),
                        "peak_score": max(it.report.peak_score, event.score),
                    }
                )
                self._open[index] = _Open(report=report, places=places, frame=event.frame_number)
                return EventIncident(id=report.id, phase="update")
        started = IncidentReport(
            id=event.id,
            phase="start",
            camera=event.camera,
            events=1,
            first_event=event.id,
            last_event=event.id,
            first_at=event.captured_at,
            last_at=event.captured_at,
            peak_score=event.score,
        )
        self._open.append(_Open(report=started, places=places, frame=event.frame_number))
        self._pending.append(started)
        return EventIncident(id=event.id, phase="start")

    def expire(self, now: datetime) -> None:
        """End incidents whose time is over, although their cameras may be silent."""
        limit = now - timedelta(seconds=self._window.seconds + GRACE)
        self._end(lambda it: it.report.last_at < limit)

    def close_all(self) -> None:
        """End all incidents, where no later run will."""
        self._end(lambda _: True)

    def _end(self, over: Callable[[_Open], bool]) -> None:
        self._pending += [it.report.model_copy(update={"phase": "end"}) for it in self._open if over(it)]
        self._open = [it for it in self._open if not over(it)]

    def _expired(self, it: _Open, event: Event) -> bool:
        late = (event.captured_at - it.report.last_at).total_seconds() > self._window.seconds
        if it.frame is None or self._window.frames is None:
            return late
        return late or event.frame_number - it.frame > self._window.frames

    def _overlaps(self, it: _Open, places: Boxes, frame: int) -> bool:
        """Whether the places overlap, once those seen before have moved with the surface."""
        if not it.places or not places:
            return True
        dx, dy = self._window.shift.get(it.report.camera, (0.0, 0.0))
        steps = 0 if it.frame is None else frame - it.frame
        moved = [(x + dx * steps, y + dy * steps, w, h) for x, y, w, h in it.places]
        return any(_overlap(one, other) for one in moved for other in places)


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes share area."""
    return all(
        one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2]
        for axis in (0, 1)
    )
