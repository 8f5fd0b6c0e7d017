"""Guard each request: known host names, headers against foreign content, the visitor and the language."""

import ipaddress
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.web.texts import choose_language
from monitor.web.visitors import Visitor

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
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
    this machine cannot read the page through a browser.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                guarded = MutableHeaders(scope=message)
                guarded.update(_HEADERS)
                guarded.setdefault("Cache-Control", "no-store")
            await send(message)

        if not is_loopback(_host_name(headers.get("host", ""))):
            refusal = PlainTextResponse("this page answers to 127.0.0.1 and localhost only\n", 421)
            await refusal(scope, receive, send_guarded)
            return
        cookies = _cookies(headers.get("cookie", ""))
        scope.setdefault("state", {})
        scope["state"]["language"] = choose_language(
            cookies.get("language"), headers.get("accept-language", "")
        )
        scope["state"]["visitor"] = Visitor(None, "engineer", "")
        await self._app(scope, receive, send_guarded)


def _host_name(host: str) -> str:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name.strip("[]")


def _cookies(header: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(header).items()}
    except CookieError:
        return {}
