"""The Event view: one flagged frame with its images, boxes, stages and the document itself."""

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from monitor.events.event import Event
from monitor.redis_streams.history import StreamHistory
from monitor.redis_streams.labelling import read_event
from monitor.web.context import PageContext, context
from monitor.web.gallery import ENTRY_ID, FoundEvent, find_events, incident_frames, read_filter
from monitor.web.images import shrink
from monitor.web.labelling.view import answers_about
from monitor.web.why.order import METHODS

MAX_EXPORTED = 500
"""Events in one export."""

_FOREVER = {"Cache-Control": "private, max-age=86400, immutable"}


class StageBar(NamedTuple):
    """One bar of the waterfall: from `start` to `start + seconds`, in seconds after capture."""

    name: str
    start: float
    seconds: float


def event(request: Request) -> Response:
    """Answer the page of one event."""
    page = context(request)
    shown = find_event(page.history, request.path_params["entry"])
    history = page.history
    newer = history.oldest_first(history.keys.events, f"({shown.entry}", count=1)
    older = history.newest_first(history.keys.events, shown.entry, count=1)
    return page.renderer.page(
        request,
        "event.html",
        view="events",
        entry=shown.entry,
        event=shown.event,
        layers=[kind for kind in ("annotated", "raw") if _image(page, shown.event, kind) is not None],
        stages=waterfall(shown.event),
        frames=incident_frames(history, shown),
        methods=METHODS,
        answers=answers_about(page.labels.standing(), shown.event.id),
        newer=newer[0].id if newer else None,
        older=older[0].id if older else None,
        document=json.dumps(json.loads(shown.event.to_json()), indent=2, ensure_ascii=False),
    )


def event_by_id(request: Request) -> Response:
    """Lead from an event's id, as logs and other programs know it, to its page."""
    history, wanted = context(request).history, request.path_params["event_id"]
    for entry in history.newest_first(history.keys.events, count=1000):
        if entry.fields.get("id") == wanted:
            return RedirectResponse(f"/events/{entry.id}", 303)
    raise HTTPException(404)


def event_json(request: Request) -> Response:
    """Answer the event's document."""
    shown = find_event(context(request).history, request.path_params["entry"])
    return Response(shown.event.to_json(), media_type="application/json")


def event_image(request: Request) -> Response:
    """Answer an image of an event: `annotated`, `raw`, or `small` for the gallery."""
    page, kind = context(request), request.path_params["kind"]
    shown = find_event(page.history, request.path_params["entry"])
    found = _image(page, shown.event, "annotated" if kind == "small" else kind)
    if found is None:
        raise HTTPException(404)
    return Response(shrink(found) if kind == "small" else found, media_type="image/jpeg", headers=_FOREVER)


def export(request: Request) -> Response:
    """Answer a zip of the chosen events, else of those that the filter accepts: JSON lines and images."""
    page = context(request)
    if not request.state.visitor.may("operator"):
        raise HTTPException(403)
    chosen = request.query_params.getlist("id")[:MAX_EXPORTED]
    if not all(re.fullmatch(ENTRY_ID, entry) for entry in chosen):
        raise HTTPException(400)
    if chosen:
        events = [find_event(page.history, entry).event for entry in chosen]
    else:
        wanted, labelled = read_filter(request.query_params), page.labels.standing()
        found = find_events(page.history, wanted, labelled=labelled, limit=MAX_EXPORTED)
        events = [it.event for it in found.events]
    packed = _pack(page, events)
    headers = {"Content-Disposition": 'attachment; filename="events.zip"'}
    return StreamingResponse(_chunks(packed), media_type="application/zip", headers=headers)


def waterfall(shown: Event) -> list[StageBar]:
    """Return the stages in their order; each begins where the one before it ends."""
    bars, start = [], 0.0
    for name, seconds in shown.latency.items():
        bars.append(StageBar(name, start, seconds))
        start += seconds
    return bars


def find_event(history: StreamHistory, entry: str) -> FoundEvent:
    """Return the event of an entry of the stream. Raises HTTPException 404."""
    found = history.oldest_first(history.keys.events, entry, entry, count=1)
    shown = read_event(found[0]) if found else None
    if shown is None:
        raise HTTPException(404)
    return FoundEvent(entry, shown)


def _image(page: PageContext, shown: Event, kind: str) -> bytes | None:
    """Return an image of the event. An event can name no other key of Redis than its own images."""
    keys = page.history.keys
    key, own = {
        "annotated": (shown.image.frame_key, keys.frame(shown.id)),
        "raw": (shown.image.raw_key, keys.raw(shown.id)),
    }[kind]
    return page.history.image(own) if key == own else None


def _pack(page: PageContext, events: list[Event]) -> BinaryIO:
    packed = tempfile.SpooledTemporaryFile(max_size=8_000_000)  # noqa: SIM115 (closed when it is sent)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # JPEGs do not shrink further
        archive.writestr("events.jsonl", "".join(f"{one.to_json()}\n" for one in events))
        for one in events:
            for kind in ("annotated", "raw"):
                if (image := _image(page, one, kind)) is not None:
                    archive.writestr(f"{kind}/{one.id}.jpg", image)
    packed.seek(0)
    return packed  # type: ignore[return-value]  # SpooledTemporaryFile is one in all but its type


def _chunks(packed: BinaryIO) -> Iterator[bytes]:
    with packed:
        while chunk := packed.read(65_536):
            yield chunk
