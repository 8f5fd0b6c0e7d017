"""The Camera view: picture, verdict strip, stages, settings in force, and what tried settings would do."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import Any, cast

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from monitor.errors import UsageError
from monitor.events.event import safe_name
from monitor.records import Box
from monitor.redis_streams.preview import Preview
from monitor.web.camera.tuning import (
    TriedSettings,
    check_sanity,
    settings_in_force,
    to_toml,
    try_on_events,
)
from monitor.web.camera.verdict_log import SECONDS
from monitor.web.camera.video import CONTENT_TYPE
from monitor.web.context import PageContext, context
from monitor.web.gallery import EventFilter, FoundEvent, find_events
from monitor.web.hub import Topic
from monitor.web.line import OLD
from monitor.web.state import MINUTES

LAST_EVENTS = 24
"""Flagged frames that tried settings are applied to."""

_MAX_SCANNED = 2_000
_FIRST_FRAME = 1.5
"""Seconds to wait for the first live frame where nothing else tells the size of the camera's frames."""


def camera(request: Request) -> Response:
    """Answer the page of one camera."""
    page, name = context(request), _name(request)
    page.history.watch(5)
    live = page.history.live_frame(name)
    events = _last_events(page, name)
    size = _size(page, name, live, events)
    in_force = None if size is None else _in_force(page, name, size, events)
    tiles, problem = _tiles(in_force, size)
    settings = _camera_settings(page, name)
    answer = page.renderer.page(
        request,
        "camera.html",
        view=f"camera:{name}",
        name=name,
        size=size,
        live_number=None if live is None else live.frame_number,
        in_force=in_force,
        tiles=tiles,
        problem=problem,
        is_full=page.video.is_full,
        state=_draw_status(page, request.state.language, name),
        seen=_draw_seen(page, request.state.language, name),
        topic=safe_name(name),
        stages=_stages(events),
        settings={key: value for key, value in settings.items() if value is not None},
        events=len(events),
    )
    if size is None:
        answer.headers["Refresh"] = "2"  # seconds
    return answer


def camera_topics(name: str, page: PageContext, language: str) -> list[Topic]:
    """Return the live fragments of one camera's page: its state, and the age of its picture."""
    key = safe_name(name)
    return [
        Topic(f"camera-{key}", language, partial(_draw_status, page, language, name)),
        Topic(f"seen-{key}", language, partial(_draw_seen, page, language, name)),
    ]


async def video(request: Request) -> Response:
    """Answer the live frames of a camera as Motion JPEG; 503 where too many watch already."""
    page, name = context(request), _name(request)
    if page.video.is_full:
        raise HTTPException(503)
    return StreamingResponse(
        page.video.stream(name, lambda: page.hub.is_stopping),
        media_type=CONTENT_TYPE,
        # Said here, or the answer would be compressed, and held back until the block is full.
        headers={"Content-Encoding": "identity", "X-Accel-Buffering": "no"},
    )


def strip(request: Request) -> Response:
    """Answer the outcomes of the last minutes, second by second."""
    page, name = context(request), _name(request)
    seconds = page.verdict_log.strip(name, datetime.now(UTC))
    return _fragment(
        request,
        "verdict_strip.html",
        seconds=seconds,
        length=SECONDS,
        has_verdicts=page.verdict_log.has_verdicts,
        clean=sum(second.outcomes.clean for second in seconds),
        flagged=sum(second.outcomes.flagged for second in seconds),
        lost=sum(second.outcomes.lost for second in seconds),
        camera=name,
    )


def tuning(request: Request) -> Response:
    """Answer what the tried settings would do: tiles, sanity measures, flagged frames, and the TOML."""
    if not request.state.visitor.may("engineer"):
        raise HTTPException(403)
    page, name = context(request), _name(request)
    live = page.history.live_frame(name)
    events = _last_events(page, name)
    size = _size(page, name, live, events)
    if size is None:
        raise HTTPException(404)
    values: dict[str, object] = {"size": size, "tiles": (), "tried": None, "name": name}
    given = {key: value for key, value in request.query_params.items() if value != ""}
    try:
        tried = TriedSettings.model_validate(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        sentence = f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}"
        return _fragment(request, "tuning.html", problem=sentence, **values)
    tiles, problem = _tiles(tried, size)
    if problem is None:
        in_force = _in_force(page, name, size, events)
        limits = _sanity_limits(page, name)
        found = try_on_events([(it.entry, it.event) for it in events], tried, in_force)
        values |= {
            "sanity": check_sanity(live.jpeg, size, tried, limits) if live and limits else None,
            "is_checked": bool(limits),
            "has_picture": live is not None,
            "found": found,
            "still_flagged": sum(it.is_flagged for it in found),
            "toml": to_toml(name, tried, in_force),
        }
    return _fragment(request, "tuning.html", problem=problem, **(values | {"tiles": tiles, "tried": tried}))


def _name(request: Request) -> str:
    """Return the camera of the address. Raises HTTPException 404 for one that is not known."""
    name = request.query_params.get("name", "")
    with context(request).feed.state() as state:
        if name not in state.cameras:
            raise HTTPException(404)
    return name


def _fragment(request: Request, template: str, **values: object) -> Response:
    language = request.state.language
    text = context(request).renderer.fragment(template, language, **values)
    return Response(text, media_type="text/html")


def _last_events(page: PageContext, name: str) -> tuple[FoundEvent, ...]:
    wanted = EventFilter(camera=name)
    return find_events(page.history, wanted, limit=LAST_EVENTS, max_scanned=_MAX_SCANNED).events


def _size(
    page: PageContext, name: str, live: Preview | None, events: tuple[FoundEvent, ...]
) -> tuple[int, int] | None:
    """Return width and height of the camera's frames; None if nothing tells them."""
    if live is None and events:
        return events[0].event.image.width, events[0].event.image.height
    if live is None and (expected := _camera_settings(page, name).get("expected_size")):
        return expected[0], expected[1]
    deadline = time.monotonic() + _FIRST_FRAME
    while live is None and time.monotonic() < deadline:
        time.sleep(0.1)
        live = page.history.live_frame(name)
    return None if live is None else (live.width, live.height)


def _camera_settings(page: PageContext, name: str) -> Mapping[str, Any]:
    cameras = cast(list[Mapping[str, Any]], page.settings.get("camera", []))
    return next((camera for camera in cameras if camera["name"] == name), {})


def _in_force(
    page: PageContext, name: str, size: tuple[int, int], events: tuple[FoundEvent, ...]
) -> TriedSettings:
    model = cast(Mapping[str, Any], page.settings.get("model", {}))
    threshold = model.get("threshold")
    if threshold is None and events:  # the model's own
        threshold = events[0].event.threshold
    return settings_in_force(_camera_settings(page, name), page.settings, size, threshold)


def _sanity_limits(page: PageContext, name: str) -> dict[str, float] | None:
    """Return the limits of the sanity checks; None where the frames are not checked."""
    common = cast(Mapping[str, Any], page.settings.get("sanity", {}))
    limits = dict(_camera_settings(page, name).get("sanity") or common)
    return limits if limits.pop("enabled", False) else None


def _tiles(tried: TriedSettings | None, size: tuple[int, int] | None) -> tuple[tuple[Box, ...], str | None]:
    """Return the tiles, or one sentence why there are none."""
    if tried is None or size is None:
        return (), None
    try:
        return tried.tiles(*size), None
    except UsageError as error:
        return (), str(error)


def _stages(events: tuple[FoundEvent, ...]) -> list[tuple[str, float, int]]:
    """Return the median seconds of each stage over the flagged frames that passed it, and their number."""
    seconds: dict[str, list[float]] = {}
    for found in events:
        for stage, value in found.event.latency.items():
            seconds.setdefault(stage, []).append(value)
    return [(stage, median(values), len(values)) for stage, values in seconds.items()]


def _draw_status(page: PageContext, language: str, name: str) -> str:
    now = datetime.now(UTC)
    with page.feed.state() as state:
        status = state.camera(name)
        return page.renderer.fragment(
            "camera_status.html",
            language,
            camera=status,
            hour=status.last_hour(now),
            minutes=MINUTES,
        )


def _draw_seen(page: PageContext, language: str, name: str) -> str:
    now = datetime.now(UTC)
    with page.feed.state() as state:
        status = state.camera(name)
        seen_at = status.live_frame_at
        return page.renderer.fragment(
            "camera_seen.html",
            language,
            number=status.live_frame,
            seen_at=seen_at,
            is_old=seen_at is None or (now - seen_at).total_seconds() > OLD,
        )
