"""The Health view: what is degraded, in words and with its entry of the runbook; versions, model, queues."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from monitor.errors import DeliveryError
from monitor.telemetry.scrape import Samples
from monitor.web.context import PageContext, context
from monitor.web.hub import Topic
from monitor.web.state import LineState

_BY_STATE = {
    "down": "DefectMonitorCameraDown",
    "stalled": "DefectMonitorCameraDown",
    "misconfigured": "DefectMonitorCameraDown",
    "frozen": "DefectMonitorCameraFrozen",
}
OLD_OUTBOX = 60.0
"""Seconds after which an event that waits in the outbox is a problem."""


class Problem(NamedTuple):
    """What is degraded: `entry` is the heading of the runbook that says what to do."""

    entry: str
    camera: str | None = None
    detail: str | None = None


class Facts(NamedTuple):
    """Versions and queues of the daemon; None where they are not known."""

    version: str | None
    models: list[Mapping[str, str]]
    outbox_events: float | None
    outbox_bytes: float | None
    outbox_oldest: float | None
    image_bytes: float | None


def health(request: Request) -> Response:
    """Answer the view; the settings in force are an engineer's."""
    page = context(request)
    try:
        groups = page.history.consumer_groups()
    except DeliveryError:
        groups = None  # the bar above says that Redis does not answer
    return page.renderer.page(
        request,
        "health.html",
        view="health",
        live=_draw(page, request.state.language),
        groups=groups,
        settings=page.settings if request.state.visitor.may("engineer") else None,
    )


def health_topics(page: PageContext, language: str) -> list[Topic]:
    """Return the topic of what changes by itself."""
    return [Topic("health", language, partial(_draw, page, language))]


def find_problems(state: LineState, samples: Samples) -> Iterator[Problem]:
    """Yield what is degraded, the most urgent first."""
    if state.daemon_problem is not None:
        yield Problem("DefectMonitorDown", detail=state.daemon_problem)
    if state.redis_problem is not None:
        yield Problem("DefectMonitorRedisUnreachable", detail=state.redis_problem)
    elif first(samples, "redis_up") == 0:
        yield Problem("DefectMonitorRedisUnreachable")
    for status in state.cameras.values():
        if status.state in _BY_STATE:
            yield Problem(_BY_STATE[status.state], status.name, status.detail or status.cause)
    for sample in samples.get("camera_name_clash", ()):
        if sample.value:
            yield Problem("DefectMonitorNameClash", sample.labels["camera"])
    if (first(samples, "outbox_oldest_seconds") or 0) > OLD_OUTBOX:
        yield Problem("DefectMonitorOutboxGrowing")
    if _total(samples, "outbox_shed_total"):
        yield Problem("DefectMonitorOutboxSheds")
    if first(samples, "outbox_durable") == 0:
        yield Problem("DefectMonitorOutboxNotDurable")
    if _total(samples, "outbox_set_aside_total"):
        yield Problem("DefectMonitorItemSetAside")
    if _total(samples, "pictures_withheld_total"):
        yield Problem("DefectMonitorPicturesWithheld")


def first(samples: Samples, name: str) -> float | None:
    """Return the value of a metric without labels; None if it is not there."""
    found = samples.get(name)
    return found[0].value if found else None


def _total(samples: Samples, name: str) -> float:
    return sum(sample.value for sample in samples.get(name, ()))


def _facts(samples: Samples) -> Facts:
    build = samples.get("build_info", ())
    return Facts(
        version=build[0].labels.get("version") if build else None,
        models=[sample.labels for sample in samples.get("model_info", ())],
        outbox_events=first(samples, "outbox_events"),
        outbox_bytes=first(samples, "outbox_bytes"),
        outbox_oldest=first(samples, "outbox_oldest_seconds"),
        image_bytes=first(samples, "redis_picture_bytes"),
    )


def _draw(page: PageContext, language: str) -> str:
    samples = page.feed.samples
    with page.feed.state() as state:
        problems, degraded = list(find_problems(state, samples)), list(state.degraded)
    return page.renderer.fragment(
        "health_live.html", language, problems=problems, degraded=degraded, facts=_facts(samples)
    )
