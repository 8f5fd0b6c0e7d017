"""The Line view: one tile a camera, with its live frame, state, coverage and flagged frames."""

from datetime import UTC, datetime
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.events.event import safe_name
from monitor.web.context import PageContext, context
from monitor.web.hub import Topic
from monitor.web.state import MINUTES

OLD = 3.0
"""Seconds after which a live frame is shown grey."""


def line(request: Request) -> Response:
    """Answer the start page."""
    page = context(request)
    tiles = [(topic.name, topic.render()) for topic in line_topics(page, request.state.language)]
    return page.renderer.page(request, "line.html", view="line", tiles=tiles)


def line_topics(page: PageContext, language: str) -> list[Topic]:
    """Return a topic for each camera's tile."""
    with page.feed.state() as state:
        names = list(state.cameras)
    return [
        Topic(f"tile-{safe_name(name)}", language, partial(_draw_tile, page, language, name))
        for name in names
    ]


def status_topic(page: PageContext, language: str) -> Topic:
    """Return the topic of the bar at the top of each page: whether Redis and the daemon answer."""
    return Topic("status", language, partial(_draw_status, page, language))


def live_frame(request: Request) -> Response:
    """Answer a small live frame of `camera`; its number in the address makes each frame's its own."""
    query = request.query_params
    number = query.get("n", "")
    if not (number.isascii() and number.isdigit()):
        raise HTTPException(400)
    found = context(request).live_frames.get(query.get("camera", ""), int(number[:18]))
    if found is None:
        raise HTTPException(404)
    headers = {"Cache-Control": "private, max-age=60"}
    return Response(found, media_type="image/jpeg", headers=headers)


def _draw_tile(page: PageContext, language: str, name: str) -> str:
    now = datetime.now(UTC)
    with page.feed.state() as state:
        status = state.camera(name)
        seen_at = status.live_frame_at or status.last_frame_at
        return page.renderer.fragment(
            "tile.html",
            language,
            camera=status,
            seen_at=seen_at,
            is_old=seen_at is None or (now - seen_at).total_seconds() > OLD,
            hour=status.last_hour(now),
            minutes=MINUTES,
        )


def _draw_status(page: PageContext, language: str) -> str:
    with page.feed.state() as state:
        return page.renderer.fragment(
            "status.html",
            language,
            page_problem=state.page_problem,
            redis_problem=state.redis_problem,
            daemon_problem=state.daemon_problem,
            degraded=len(state.degraded),
        )
