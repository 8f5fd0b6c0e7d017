"""A wire that breaks between what the server does and its answer."""

import contextlib
import socket
import threading
from collections.abc import Callable


class CuttingProxy:
    """Passes connections on to a server of this machine.

    While `cut_next()` is true, the answer to the next script call is thrown away and the connection closed:
    the server has done it, the client cannot know. `cuts` counts.
    """

    def __init__(self, port: int, cut_next: Callable[[], bool]) -> None:
        self._upstream = port
        self._cut_next = cut_next
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Closing alone would leave a thread waiting inside `accept`.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for wire in (self._listener, *self._open):
            wire.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._upstream))
                self._open += [client, server]
                called = threading.Event()
                threading.Thread(target=self._commands, args=(client, server, called), daemon=True).start()
                threading.Thread(target=self._answers, args=(client, server, called), daemon=True).start()

    def _commands(self, client: socket.socket, server: socket.socket, called: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if b"\r\nEVAL" in data:
                    called.set()
                server.sendall(data)
        server.close()

    def _answers(self, client: socket.socket, server: socket.socket, called: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if called.is_set() and self._cut_next():
                    self.cuts += 1
                    break
                called.clear()
                client.sendall(data)
        for wire in (client, server):
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
            wire.close()
