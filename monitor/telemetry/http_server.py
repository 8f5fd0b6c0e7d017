"""Metrics and health over HTTP: `/metrics`, `/healthz`, `/readyz`, and whatever a route table adds."""

import errno
import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from monitor.errors import PortError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Whether all is well, and a JSON-able report of what is and what is not."""

    ok: bool
    report: Mapping[str, object] = field(default_factory=dict)


class HttpServer:
    """A server that answers in threads of its own until it is closed. `port` is the one it has taken."""

    def __init__(self, server: WSGIServer) -> None:
        self.port = server.server_port
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Answers under way end with the process."""
        self._server.shutdown()
        self._server.server_close()
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
    """Serve on `host`, a name or an address of either IP version, and `port` (0: any free one).

    `/healthz` and `/readyz` answer 200 or 503 with `{"ok": …, **report}`; `routes` adds paths. Raises
    PortError where the port cannot be taken.
    """
    table = {
        "/metrics": make_wsgi_app(registry),
        "/healthz": _health_page(liveness),
        "/readyz": _health_page(readiness),
        **(routes or {}),
    }
    server = _bind(host, port)
    server.set_app(_dispatcher(table))
    return HttpServer(server)


def check_port(host: str, port: int) -> None:
    """Raise PortError if `serve` could not take the port now."""
    _bind(host, port).server_close()


def _bind(host: str, port: int) -> "_Server":
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return _Server(family, str(address[0]), port)
    except (OSError, OverflowError) as error:
        raise PortError(_sentence(host, port, error)) from error


def _sentence(host: str, port: int, error: Exception) -> str:
    where = f"port {port} of {host} for metrics and health"
    if isinstance(error, socket.gaierror):
        return f"cannot serve metrics and health on {host!r}: no such host"
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return f"{where} is taken by another program: stop it or choose another port"
    if code == errno.EADDRNOTAVAIL:
        return f"cannot serve metrics and health on {host!r}: not an address of this machine"
    if code == errno.EACCES:
        return f"{where} is not ours to take: ports below 1024 need a privilege"
    return f"{where} cannot be taken: {error}"


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64  # connections that wait to be taken up; five, the default, make others retry

    def __init__(self, family: int, host: str, port: int) -> None:
        self.address_family = family
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # http.server would ask DNS for the machine's full name here, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # str, int
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("request of %s broke off", client_address, exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = 5.0  # a client that neither sends nor takes for so long is cut off

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is http.server's)
        _log.debug(format, *args)


def _dispatcher(table: "Mapping[str, WSGIApplication]") -> "WSGIApplication":
    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        page = table.get(environ.get("PATH_INFO", ""))
        method = environ["REQUEST_METHOD"]
        if page is None:
            page = _text_page(HTTPStatus.NOT_FOUND, f"not here; there is {', '.join(table)}\n")
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
