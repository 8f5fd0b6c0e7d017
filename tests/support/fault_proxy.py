"""A network cable to one server that can be pulled, cut, slowed and disturbed while it is in use."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Literal, Self

_CHUNK = 1 << 16


_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultProxy:
    """Passes TCP connections from its own port on to a server of this machine.

    What is done to the wire holds for connections of now and later until `mend`, except for `reset`, `close`
    and `forget`, which end those of now. A server that refuses is passed on as a reset.
    """

    def __init__(self, upstream: int, seed: int = 1) -> None:
        self.port = 0
        self.joined = 0
        self._upstream = upstream
        self._random = random.Random(seed)
        self._share = 0.0
        self._rate: float | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._thread.start()
        self._do(self._listen())

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    def mend(self) -> None:
        """Pass everything on, and take new connections."""
        self._do(self._mend())

    def stall(self) -> None:
        """Keep all connections open and pass nothing."""
        self._soon(self._flows.clear)

    def slow(self, rate: float) -> None:
        """Pass `rate` bytes a second of each connection and direction."""
        self._rate = rate

    def corrupt(self, share: float) -> None:
        """Replace this share of the bytes that come from the server."""
        self._share = share

    def refuse(self) -> None:
        """Take no new connections; what is open stays."""
        self._do(self._deafen())

    def reset(self) -> None:
        """Break all connections with RST, to both sides."""
        self._do(self._end("reset"))

    def close(self) -> None:
        """End all connections with FIN, to both sides."""
        self._do(self._end("close"))

    def forget(self) -> None:
        """Half-open: the server's side is gone, the client's side is never told and never answered."""
        self._do(self._end("forget"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.reset()
        self._soon(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _soon(self, work: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(work)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _mend(self) -> None:
        self._share, self._rate = 0.0, None
        self._flows.set()
        if self._server is None:
            await self._listen()

    async def _deafen(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.joined += 1
        link = _Link(self, reader, writer)
        task = self._loop.create_task(link.run(self._upstream))
        self._links[task] = link
        task.add_done_callback(self._links.pop)

    async def _end(self, how: "_End") -> None:
        tasks = list(self._links)
        for task in tasks:
            link = self._links[task]
            if how != "forget" or link.how != "forget":
                link.how = how
                task.cancel()
        if how != "forget":
            await asyncio.gather(*tasks, return_exceptions=True)

    def spoil(self, data: bytes) -> bytes:
        """What a corrupting wire makes of bytes."""
        if not self._share:
            return data
        spoilt = bytearray(data)
        for place in range(len(spoilt)):
            if self._random.random() < self._share:
                spoilt[place] ^= self._random.randrange(1, 256)
        return bytes(spoilt)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        """Pass on what comes, to its end."""
        while data := await reader.read(_CHUNK if self._rate is None else max(1, int(self._rate / 10))):
            if self._rate is not None:
                await asyncio.sleep(len(data) / self._rate)
            await self._flows.wait()
            writer.write(self.spoil(data) if down else data)
            await writer.drain()


_End = Literal["close", "reset", "forget"]


class _Link:
    """One connection through the wire: `near` to the client, `far` to the server."""

    def __init__(self, wire: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.how: _End = "close"
        self._wire = wire
        self._reader, self._near = reader, writer

    async def run(self, upstream: int) -> None:
        """Both ways until one side ends or the wire ends it."""
        far: asyncio.StreamWriter | None = None
        try:
            source, far = await asyncio.open_connection("127.0.0.1", upstream)
            ways = [
                self._wire.carry(self._reader, far, down=False),
                self._wire.carry(source, self._near, down=True),
            ]
            await _first(ways)
        except OSError:
            self.how = "reset"
        except asyncio.CancelledError:
            pass  # it says in `how` what is wanted
        try:
            if far is not None:
                _end(far, self.how)
            if self.how == "forget":
                while await self._reader.read(_CHUNK):
                    pass
        except (OSError, asyncio.CancelledError):
            pass  # the client, or the end of the test, ends what was forgotten
        _end(self._near, self.how)


async def _first(ways: list[Coroutine[Any, Any, None]]) -> None:
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end(writer: asyncio.StreamWriter, how: _End) -> None:
    if how == "close":
        writer.close()
        return
    if how == "reset":
        with contextlib.suppress(OSError):  # it may have been closed by its other end already
            wire = writer.get_extra_info("socket")
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


class ReplyCuttingProxy:
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
