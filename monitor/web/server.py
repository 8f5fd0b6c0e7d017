"""Serve the page with uvicorn, and end at once although browsers hold streams open."""

import errno
import logging
import socket
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from monitor.errors import PortError
from monitor.web.hub import Hub

_GRACE = 1
"""Seconds that answers in progress may take once the page is to stop."""


class PageServer:
    """The page and what serves it. `trusted_proxy`: the address whose forwarding headers count."""

    def __init__(self, app: Starlette, *, trusted_proxy: str | None = None) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=trusted_proxy is not None,
            forwarded_allow_ips=trusted_proxy,
            timeout_graceful_shutdown=_GRACE,
            limit_concurrency=500,
        )
        self._server = _Server(config, app.state.page.hub)

    def serve(self, listener: socket.socket) -> None:
        """Serve until SIGINT, SIGTERM or `stop`."""
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self._server.run(sockets=[listener])

    def stop(self) -> None:
        """End all streams, then the server."""
        self._server.end()


class _Server(uvicorn.Server):
    """Ends the live streams as soon as it is to stop; uvicorn itself would wait for the browsers."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    def end(self) -> None:
        self._hub.stop()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._hub.stop()
        super().handle_exit(sig, frame)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket at the first address of `host`; port 0 takes a free one. Raises PortError."""
    where = f"port {port} of {host} for the page"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(address[0]), port))
            listener.listen()  # before the address is printed: who opens it at once then only waits
        except BaseException:
            listener.close()
            raise
    except socket.gaierror as error:
        raise PortError(f"cannot serve the page on {host!r}: no such host") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortError(f"{where} is taken by another program: stop it or choose another port") from error
        raise PortError(f"{where} cannot be bound: {error.strerror}") from error
    return listener
