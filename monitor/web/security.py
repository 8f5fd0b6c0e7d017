"""Guard each request: host names, headers against foreign content, the visitor and the language."""

import ipaddress
from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.web.access import Access
from monitor.web.texts import choose_language
from monitor.web.visitors import Visitor

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
SESSION_COOKIE = "session"
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without port, is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """ASGI middleware around the whole page.

    Without users only requests to a loopback name are answered, so that a foreign site whose name points to
    this machine cannot read the page through a browser. With users, a visitor without a session gets the
    login form and what that needs, and nothing else. Passwords travel over TLS only, except on this machine.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                guarded = MutableHeaders(scope=message)
                guarded.update(_HEADERS)
                guarded.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope)
        visitor = self._access.visitor(request.cookies.get(SESSION_COOKIE))
        request.state.language = choose_language(
            request.cookies.get("language"), request.headers.get("accept-language", "")
        )
        request.state.visitor = visitor or Visitor(None, "viewer", "")
        answer = self._refusal(request) if visitor is not None else self._ask_to_log_in(request)
        await (answer or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        if self._access.needs_login or is_loopback(_host_name(request)):
            return None
        return PlainTextResponse("this page answers to 127.0.0.1 and localhost only\n", 421)

    def _ask_to_log_in(self, request: Request) -> Response | None:
        path = request.url.path
        if path.startswith("/static/"):
            return None
        if not (is_secure(request) or is_loopback(_host_name(request))):
            return PlainTextResponse("passwords need TLS: open this page with https://\n", 403)
        if path in ("/login", "/language"):
            return None
        if request.method != "GET" or path == "/stream":
            return PlainTextResponse("log in first\n", 401)
        back = f"{path}?{request.url.query}" if request.url.query else path
        return RedirectResponse(f"/login?{urlencode({'next': back})}", 303)


def is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, with this page or with a trusted proxy before it."""
    return request.url.scheme == "https"


def is_local_path(address: str) -> bool:
    """Whether an address to go back to stays on this page: `/events?camera=left`, not `//elsewhere`."""
    return address.startswith("/") and not address.startswith(("//", "/\\"))


def _host_name(request: Request) -> str:
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name.strip("[]")
