"""Metrics and health over HTTP: `/metrics`, `/healthz`, `/readyz`, and whatever a route table adds."""

import errno
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from waitress import create_server

from monitor.errors import PortError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


THREADS = 4
"""Threads that answer requests; further requests queue."""

MAX_CONNECTIONS = 100
"""Open connections; further clients queue in the kernel."""

CLIENT_TIMEOUT = 5
"""Seconds without a byte from or to a client after which it is cut off."""

# The length of its queue is no news: a scrape and a probe at the same moment are enough for a line.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Whether all is well, and a report of details that JSON can hold."""

    ok: bool
    report: Mapping[str, object] = field(default_factory=dict)


class HttpServer:
    """A server that answers in threads of its own until it is closed.

    `listener` is bound and not yet listening; `port` is its port.
    """

    def __init__(self, listener: socket.socket, application: "WSGIApplication") -> None:
        self.port: int = listener.getsockname()[1]
        self._sockets: dict[int, Any] = {}  # the listener, its wake-up pipe and every client
        self._server = create_server(
            application,
            map=self._sockets,
            sockets=[listener],
            threads=THREADS,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=CLIENT_TIMEOUT,
            cleanup_interval=CLIENT_TIMEOUT,
            max_request_header_size=16_384,
            max_request_body_size=1_024,
            asyncore_use_poll=True,  # select(2) fails beyond 1,024 open files
            ident=None,
        )
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether requests are accepted."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop listening and cut off every client. Answers in progress end with the process."""
        self._server.task_dispatcher.shutdown(timeout=1)  # first: an answer wakes the server by its pipe, too
        if not self._thread.is_alive():
            return
        is_woken = threading.Event()

        def close_sockets() -> None:
            # An answer may wake the server before this thread does: the pipe must be open until both have.
            is_woken.wait()
            for channel in list(self._sockets.values()):
                channel.close()

        self._server.trigger.pull_trigger(close_sockets)  # they belong to the server's thread
        is_woken.set()
        self._thread.join()


def start_http_server(
    host: str,
    port: int,
    *,
    registry: CollectorRegistry,
    liveness: Callable[[], HealthReport],
    readiness: Callable[[], HealthReport],
    routes: "Mapping[str, WSGIApplication] | None" = None,
) -> HttpServer:
    """Serve metrics and health on `host`, a name or an address of either IP version, and `port` (0: any).

    `/healthz` and `/readyz` answer 200 or 503 with `{"ok": …, **report}`; `routes` adds paths. Raises
    PortError where the port cannot be bound.
    """
    table = {
        "/metrics": make_wsgi_app(registry),
        "/healthz": _health_page(liveness),
        "/readyz": _health_page(readiness),
        **(routes or {}),
    }
    return HttpServer(_bind(host, port), _dispatcher(table))


def check_port(host: str, port: int) -> None:
    """Raise PortError if `start_http_server` could not bind the port now."""
    _bind(host, port).close()


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the first address of `host`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Inherited by each connection. The server itself cannot cut off a client that takes nothing.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, CLIENT_TIMEOUT * 1000)
            listener.bind((str(address[0]), port))
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise PortError(_describe(host, port, error)) from error
    return listener


def _describe(host: str, port: int, error: Exception) -> str:
    where = f"port {port} of {host} for metrics and health"
    if isinstance(error, socket.gaierror):
        return f"cannot serve metrics and health on {host!r}: no such host"
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return f"{where} is taken by another program: stop it or choose another port"
    if code == errno.EADDRNOTAVAIL:
        return f"cannot serve metrics and health on {host!r}: not an address of this machine"
    if code == errno.EACCES:
        return f"{where} cannot be bound: ports below 1024 need a privilege"
    return f"{where} cannot be bound: {error}"


def _dispatcher(table: "Mapping[str, WSGIApplication]") -> "WSGIApplication":
    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        page = table.get(environ.get("PATH_INFO", ""))
        method = environ["REQUEST_METHOD"]
        if page is None:
            page = _text_page(HTTPStatus.NOT_FOUND, f"not found; pages: {', '.join(table)}\n")
        elif method not in {"GET", "HEAD"}:
            page = _text_page(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD\n", ("Allow", "GET, HEAD"))
        body = page({**environ, "REQUEST_METHOD": "GET"}, start_response)
        return [b""] if method == "HEAD" else body

    return application


def _health_page(check: Callable[[], HealthReport]) -> "WSGIApplication":
    def page(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        health = check()
        status = HTTPStatus.OK if health.ok else HTTPStatus.SERVICE_UNAVAILABLE
        document = json.dumps({"ok": health.ok, **health.report}, ensure_ascii=False, default=str)
        return _answer(start_response, status, "application/json", document + "\n")

    return page


def _text_page(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> "WSGIApplication":
    def page(_: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return _answer(start_response, status, "text/plain; charset=utf-8", text, *headers)

    return page


def _answer(
    start_response: "StartResponse", status: HTTPStatus, kind: str, text: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    body = text.encode()
    fixed = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(f"{status.value} {status.phrase}", [*fixed, *headers])
    return [body]
