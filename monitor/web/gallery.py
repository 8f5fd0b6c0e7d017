"""The Events view: a gallery of flagged frames, newest first, filtered, grouped by incident."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.events.event import Event
from monitor.events.labels import joint_answer
from monitor.redis_streams.history import NEWEST, HistoryEntry, StreamHistory
from monitor.redis_streams.labelling import read_event
from monitor.web.context import PageContext, context
from monitor.web.hub import Topic
from monitor.web.state import LineState

PAGE_SIZE = 48
"""Flagged frames on one page of the gallery."""

MAX_SCANNED = 5_000
"""Entries that one request reads at most, however few of them pass the filter."""

_BATCH = 250
ENTRY_ID = r"[0-9]{1,15}-[0-9]{1,10}"
"""The form of an entry's id in an address."""


def _to_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except (OverflowError, OSError):
        raise ValueError("no such time") from None


Moment = Annotated[datetime, AfterValidator(_to_utc)]
"""A time of an address, in UTC; without a zone it is a local one."""


class EventFilter(BaseModel):
    """What the gallery shows, as its address says it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    camera: str | None = None
    label: str | None = None
    incident: str | None = None
    min_score: float | None = Field(default=None, ge=0, le=1)
    max_score: float | None = Field(default=None, ge=0, le=1)
    since: Moment | None = None
    until: Moment | None = None
    unfamiliar: bool = False
    unlabelled: bool = False
    before: str | None = Field(default=None, pattern=f"^{ENTRY_ID}$")

    def accepts(self, event: Event) -> bool:
        """Whether the gallery shows the event."""
        return (
            self.camera in (None, event.camera)
            and self.label in (None, event.label)
            and (self.incident is None or (event.incident is not None and event.incident.id == self.incident))
            and (self.min_score is None or event.score >= self.min_score)
            and (self.max_score is None or event.score <= self.max_score)
            and (self.since is None or event.captured_at >= self.since)
            and (self.until is None or event.captured_at <= self.until)
            and (not self.unfamiliar or (event.familiarity is not None and event.familiarity.unfamiliar))
        )

    def is_before(self, entry: HistoryEntry) -> bool:
        """Whether the entry, and so each older one, is of a frame before `since`."""
        return self.since is not None and entry.added_at < self.since

    def query(self, **changes: object) -> dict[str, object]:
        """Return the filter as the query of an address, with some parts changed."""
        changed = self.model_copy(update=changes)
        values = changed.model_dump(exclude_none=True, exclude_defaults=True)
        for name in ("since", "until"):
            if name in values:
                values[name] = values[name].isoformat(timespec="seconds")
        return values


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event and the id of its entry in the stream, which addresses it."""

    entry: str
    event: Event


@dataclass(frozen=True, slots=True)
class FoundPage:
    """A page of events. `next_before`: from where older ones are searched, None at the end of the stream."""

    events: tuple[FoundEvent, ...]
    scanned: int
    searched_back_to: datetime | None
    next_before: str | None

    def incidents(self) -> list[list[FoundEvent]]:
        """Return the events in groups: neighbours of one incident together."""
        return [list(group) for _, group in groupby(self.events, key=_incident_key)]


def find_events(
    history: StreamHistory,
    wanted: EventFilter,
    *,
    labelled: Container[str] = (),
    limit: int = PAGE_SIZE,
    max_scanned: int = MAX_SCANNED,
) -> FoundPage:
    """Return up to `limit` events that `wanted` accepts, the newest first, reading at most `max_scanned`.

    `labelled` are the ids of the events that somebody has labelled.
    """
    found: list[FoundEvent] = []
    before, scanned, searched = wanted.before or NEWEST, 0, None
    while scanned < max_scanned:
        batch = history.newest_first(history.keys.events, before, count=min(_BATCH, max_scanned - scanned))
        for entry in batch:
            scanned, before, searched = scanned + 1, entry.id, entry.added_at
            if wanted.is_before(entry):
                return FoundPage(tuple(found), scanned, searched, None)
            event = read_event(entry)
            if event is None or (wanted.unlabelled and event.id in labelled):
                continue
            if wanted.accepts(event):
                found.append(FoundEvent(entry.id, event))
            if len(found) == limit:
                return FoundPage(tuple(found), scanned, searched, before)
        if not batch:
            return FoundPage(tuple(found), scanned, searched, None)
    return FoundPage(tuple(found), scanned, searched, before)


def read_filter(query: Mapping[str, str]) -> EventFilter:
    """Return the filter of an address; empty fields of the form do not count. Raises HTTPException 400."""
    try:
        return EventFilter.model_validate({name: value for name, value in query.items() if value != ""})
    except ValidationError as error:
        raise HTTPException(400) from error


def gallery(request: Request) -> Response:
    """Answer a page of the gallery."""
    page = context(request)
    wanted = read_filter(request.query_params)
    with page.feed.state() as state:  # before the events are read: what comes meanwhile is announced
        cameras, latest = sorted(state.cameras), latest_event(state)
    standing = page.labels.standing()
    found = find_events(page.history, wanted, labelled=standing)
    return page.renderer.page(
        request,
        "gallery.html",
        view="events",
        wanted=wanted,
        here=wanted.query(),
        found=found,
        answers={it.event.id: joint_answer(standing.get(it.event.id, ())) for it in found.events},
        cameras=cameras,
        latest=latest,
    )


def gallery_topics(page: PageContext, language: str) -> list[Topic]:
    """Return the topic that changes when an event arrives; the gallery then reads its page again."""

    def latest() -> str:
        with page.feed.state() as state:
            return latest_event(state)

    return [Topic("latest-event", language, latest)]


def latest_event(state: LineState) -> str:
    """Return the id of the newest entry that this page has seen."""
    return state.latest_event_id or "none"


def incident_frames(history: StreamHistory, shown: FoundEvent) -> list[FoundEvent]:
    """Return the frames of the incident of an event, near it in the stream, the oldest first."""
    incident = shown.event.incident
    if incident is None:
        return [shown]
    wanted = EventFilter(incident=incident.id, camera=shown.event.camera)
    older = find_events(history, replace_before(wanted, shown.entry), limit=12, max_scanned=200).events
    newer = _accepted(history.oldest_first(history.keys.events, f"({shown.entry}", count=200), wanted)
    return [*reversed(older), shown, *newer[:12]]


def replace_before(wanted: EventFilter, before: str) -> EventFilter:
    """Return the filter for what is older than an entry."""
    return wanted.model_copy(update={"before": before})


def _accepted(entries: Iterable[HistoryEntry], wanted: EventFilter) -> list[FoundEvent]:
    read = ((entry.id, read_event(entry)) for entry in entries)
    return [FoundEvent(id_, event) for id_, event in read if event is not None and wanted.accepts(event)]


def _incident_key(found: FoundEvent) -> str:
    return found.event.incident.id if found.event.incident is not None else found.entry
