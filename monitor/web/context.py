"""What the views share: the parts of the page, and how a request asks for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from monitor.redis_streams.history import StreamHistory
from monitor.web.camera.verdict_log import VerdictLog
from monitor.web.camera.video import VideoStreams
from monitor.web.feed import Feed
from monitor.web.hub import Hub, Topic
from monitor.web.images import LiveFrames
from monitor.web.labelling.book import LabelBook
from monitor.web.rendering import Renderer
from monitor.web.why.queue import ExplanationQueue


@dataclass(frozen=True, slots=True)
class PageContext:
    """The parts of the page, made once by the app factory.

    `settings` are those of the daemon that this page belongs to, as plain values without secrets.
    """

    history: StreamHistory
    feed: Feed
    hub: Hub
    renderer: Renderer
    settings: Mapping[str, object]
    live_frames: LiveFrames
    video: VideoStreams
    verdict_log: VerdictLog
    why: ExplanationQueue
    labels: LabelBook


Topics = Callable[[PageContext, str], list[Topic]]
"""Returns the live fragments of a view, in a language."""


def context(request: Request) -> PageContext:
    """Return the parts of the page that answers this request."""
    return cast(PageContext, request.app.state.page)
