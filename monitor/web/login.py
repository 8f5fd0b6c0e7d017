"""Log in and out, and the check that a form was sent by this page."""

import hmac
import secrets
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from monitor.web.access import SESSION_SECONDS, Access, TooManyTriesError
from monitor.web.context import context
from monitor.web.security import SESSION_COOKIE, is_local_path, is_secure

_FORM_COOKIE = "login-form"
_MAX_FORM = 10_000


async def show_login(request: Request) -> Response:
    """Answer the login form."""
    return _form(request, 200, None)


async def log_in(request: Request) -> Response:
    """Take the form; the form's own cookie proves that this page sent it."""
    form = await read_fields(request)
    sent, expected = form.get("csrf", ""), request.cookies.get(_FORM_COOKIE, "")
    if not expected or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise HTTPException(403)
    access: Access = request.app.state.access
    address = request.client.host if request.client else ""
    try:
        # In a thread: a hash takes a tenth of a second, in which the live streams go on.
        token = await run_in_threadpool(
            access.log_in, form.get("name", ""), form.get("password", ""), address
        )
    except TooManyTriesError:
        return _form(request, 429, "login.too_many")
    if token is None:
        return _form(request, 401, "login.wrong")
    target = form.get("next", "/")
    answer = RedirectResponse(target if is_local_path(target) else "/", 303)
    answer.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=SESSION_SECONDS,
        secure=is_secure(request),
        httponly=True,
        samesite="lax",  # a link from a dashboard finds the session; forms have a token of their own
    )
    answer.delete_cookie(_FORM_COOKIE)
    return answer


async def log_out(request: Request) -> Response:
    """End the session."""
    await read_form(request)
    request.app.state.access.log_out(request.cookies.get(SESSION_COOKIE))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(SESSION_COOKIE)
    return answer


async def read_form(request: Request, limit: int = _MAX_FORM) -> dict[str, str]:
    """Return the fields of a form of this page. Raises HTTPException 403 without the visitor's token."""
    form = await read_fields(request, limit)
    if not hmac.compare_digest(form.get("csrf", "").encode(), request.state.visitor.csrf_token.encode()):
        raise HTTPException(403)
    return form


async def read_fields(request: Request, limit: int = _MAX_FORM) -> dict[str, str]:
    """Return the last value of each field of a form, at most `limit` bytes. Raises HTTPException 400."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(400)
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    return {name: values[-1] for name, values in fields.items()}


def _form(request: Request, status: int, problem: str | None) -> Response:
    token = request.cookies.get(_FORM_COOKIE) or secrets.token_urlsafe(32)
    answer = context(request).renderer.page(
        request,
        "login.html",
        status=status,
        view="",
        problem=problem,
        token=token,
        target=request.query_params.get("next", "/"),
    )
    answer.set_cookie(
        _FORM_COOKIE, token, max_age=3600, secure=is_secure(request), httponly=True, samesite="strict"
    )
    return answer
