"""Order an explanation of an event, follow it, and show it."""

from collections.abc import Mapping
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.events.event import Event
from monitor.web.context import PageContext, context
from monitor.web.event import find_event
from monitor.web.login import read_form
from monitor.web.why.order import METHODS, ExplanationOrder
from monitor.web.why.queue import BusyError


async def order_explanation(request: Request) -> Response:
    """Take the form with a method; answer how far the explanation is."""
    _permit(request)
    # Only a script of this page can set this header: without users there is no token in the form.
    if request.headers.get("hx-request") != "true":
        raise HTTPException(403)
    form = await read_form(request)
    return await run_in_threadpool(_order, request, form.get("method", ""))


def explanation(request: Request) -> Response:
    """Answer how far an explanation is, with the picture once it is done."""
    _permit(request)
    return _answer(request, _method(request))


def explanation_image(request: Request) -> Response:
    """Answer the explained frame."""
    _permit(request)
    page, entry = context(request), request.path_params["entry"]
    found = page.why.find((entry, _method(request)))
    if found is None or found.picture is None:
        raise HTTPException(404)
    return Response(found.picture, media_type="image/jpeg")


def _permit(request: Request) -> None:
    if not request.state.visitor.may("operator"):
        raise HTTPException(403)


def _method(request: Request) -> str:
    return _known(request.query_params.get("method", ""))


def _known(method: str) -> str:
    if method not in METHODS:
        raise HTTPException(400)
    return method


def _order(request: Request, wanted: str) -> Response:
    page, entry, method = context(request), request.path_params["entry"], _known(wanted)
    event = find_event(page.history, entry).event
    jpeg = page.history.image(page.history.keys.raw(event.id))
    if jpeg is None:
        expired = event.image.raw_key is not None
        return _answer(request, method, "why.expired" if expired else "why.no_raw")
    try:
        page.why.submit((entry, method), _order_for(page, event, method), jpeg)
    except BusyError:
        return _answer(request, method, "why.busy")
    return _answer(request, method)


def _order_for(page: PageContext, event: Event, method: str) -> ExplanationOrder:
    cameras = cast(list[Mapping[str, Any]], page.settings.get("camera", []))
    camera = next((it for it in cameras if it["name"] == event.camera), {})
    model = cast(Mapping[str, Any], page.settings["model"])
    return ExplanationOrder(
        method=method,
        model=camera.get("model") or model["path"],
        sha256=event.model.sha256,
        threshold=event.threshold,
        roi=camera.get("roi"),
        tiles=camera.get("tiles") or (1, 1),
        overlap=camera.get("overlap") or 0.0,
    )


def _answer(request: Request, method: str, problem: str | None = None) -> Response:
    page, entry = context(request), request.path_params["entry"]
    found = page.why.find((entry, method)) if problem is None else None
    text = page.renderer.fragment(
        "why.html",
        request.state.language,
        entry=entry,
        method=method,
        found=found,
        problem=problem,
    )
    return Response(text, media_type="text/html")
