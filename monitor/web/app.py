"""The app factory: routes, live streams and the life of the page's threads."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from monitor.errors import DeliveryError, first_line
from monitor.redis_streams.history import StreamHistory
from monitor.web.access import Access, User
from monitor.web.camera.verdict_log import VerdictLog
from monitor.web.camera.video import VideoStreams
from monitor.web.camera.view import camera, camera_topics, strip, tuning, video
from monitor.web.context import PageContext, Topics, context
from monitor.web.event import event, event_by_id, event_image, event_json, export
from monitor.web.feed import Feed
from monitor.web.gallery import ENTRY_ID, gallery, gallery_topics
from monitor.web.health import health, health_topics
from monitor.web.hub import Hub
from monitor.web.images import LiveFrames
from monitor.web.labelling.book import LabelBook
from monitor.web.labelling.view import answer, frame_image, label
from monitor.web.line import line, line_topics, live_frame, status_topic
from monitor.web.login import log_in, log_out, show_login
from monitor.web.not_inspected import not_inspected
from monitor.web.rendering import Renderer
from monitor.web.security import Guard, is_local_path
from monitor.web.texts import LANGUAGES, translate
from monitor.web.why.queue import ExplanationQueue
from monitor.web.why.view import explanation, explanation_image, order_explanation

_STATIC = Path(__file__).with_name("static")

_TOPICS: dict[str, Topics] = {"line": line_topics, "events": gallery_topics, "health": health_topics}
"""The live fragments of each view that has some, besides the status bar."""

_WATCHING = {"line", "camera"}
"""The views that show live frames."""


class _EntryId(StringConvertor):
    regex = ENTRY_ID


class _ImageKind(StringConvertor):
    regex = "annotated|raw|small"


class _LabelImage(StringConvertor):
    regex = "clean|heat|small"


register_url_convertor("label_image", _LabelImage())
register_url_convertor("entry", _EntryId())
register_url_convertor("kind", _ImageKind())


def build_app(
    history: StreamHistory,
    *,
    metrics_address: str,
    cameras: list[str],
    settings: Mapping[str, object],
    users: Mapping[str, User],
    version: str,
) -> Starlette:
    """Build the page of the cameras below `history`; connects when it is started.

    `settings` are the daemon's, as plain values without secrets. Without `users` the page answers to requests
    of this machine only.
    """
    hub, access, why = Hub(), Access(users), ExplanationQueue()
    feed = Feed(history, metrics_address, cameras, watchers=lambda: hub.watchers)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        feed.start()
        rendering = asyncio.create_task(hub.run())
        yield
        rendering.cancel()
        feed.stop()
        why.close()

    app = Starlette(
        routes=[
            Route("/", line),
            Route("/live.jpg", live_frame),
            Route("/camera", camera),
            Route("/camera.mjpeg", video),
            Route("/camera/strip", strip),
            Route("/camera/tuning", tuning),
            Route("/events", gallery),
            Route("/events.zip", export),
            Route("/events/id/{event_id}", event_by_id),
            Route("/events/{entry:entry}", event),
            Route("/events/{entry:entry}.json", event_json),
            Route("/events/{entry:entry}/{kind:kind}.jpg", event_image),
            Route("/events/{entry:entry}/why", explanation),
            Route("/events/{entry:entry}/why", order_explanation, methods=["POST"]),
            Route("/events/{entry:entry}/why.jpg", explanation_image),
            Route("/label", label),
            Route("/label", answer, methods=["POST"]),
            Route("/label/{frame_id}/{kind:label_image}", frame_image),
            Route("/stream", stream),
            Route("/not-inspected", not_inspected),
            Route("/health", health),
            Route("/login", show_login),
            Route("/login", log_in, methods=["POST"]),
            Route("/logout", log_out, methods=["POST"]),
            Route("/language", choose_language),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[Middleware(Guard, access=access), Middleware(GZipMiddleware, minimum_size=1000)],
        exception_handlers={DeliveryError: _redis_is_away, HTTPException: _refusal},
        lifespan=lifespan,
    )
    app.state.access = access
    verdicts = settings.get("verdicts")
    has_verdicts = isinstance(verdicts, Mapping) and bool(verdicts.get("publish"))
    app.state.page = PageContext(
        history,
        feed,
        hub,
        Renderer({"version": version}),
        settings,
        LiveFrames(history),
        VideoStreams(history),
        VerdictLog(history, has_verdicts=has_verdicts),
        why,
        LabelBook(history),
    )
    return app


async def stream(request: Request) -> Response:
    """Answer the one live connection of an open page: its view's fragments and the status bar."""
    page, language = context(request), request.state.language
    view, _, subject = request.query_params.get("view", "").partition(":")
    topics = partial(camera_topics, subject) if view == "camera" else _TOPICS.get(view)
    wanted = [status_topic(page, language), *(topics(page, language) if topics else ())]
    return StreamingResponse(
        page.hub.stream(
            wanted,
            clock=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"),
            shows_live_frames=view in _WATCHING,
            known=request.query_params,
        ),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def choose_language(request: Request) -> Response:
    """Remember the language and go back to the page."""
    wanted = request.query_params.get("to", "")
    back = request.query_params.get("back", "/")
    answer = RedirectResponse(back if is_local_path(back) else "/", 303)
    if wanted in LANGUAGES:
        answer.set_cookie("language", wanted, max_age=365 * 86_400, samesite="lax", httponly=True)
    return answer


def _redis_is_away(request: Request, error: Exception) -> Response:
    return _problem(request, 503, first_line(error))


def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    key = f"error.{error.status_code}"
    return _problem(request, error.status_code, translate(request.state.language, key))


def _problem(request: Request, status: int, sentence: str) -> Response:
    renderer = context(request).renderer
    return renderer.page(request, "problem.html", status=status, view="", sentence=sentence)
