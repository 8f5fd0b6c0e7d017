"""The tools of the camera faults do what they are told: a wire that fails, a server that counts."""

import contextlib
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dns_server import Resolver, python, why_absent
from tests.support.fault_proxy import FaultProxy

TEXT = bytes(range(256)) * 200


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self) -> None:
        self.server.joined.release()
        with contextlib.suppress(OSError):
            while data := self.request.recv(1 << 16):
                self.request.sendall(data)
        self.server.left.release()


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.joined, self.left = threading.Semaphore(0), threading.Semaphore(0)


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def wire(server: EchoServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.server_address[1]) as wire:
        yield wire


@contextlib.contextmanager
def client(wire: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", wire.port), 5) as connection:
        yield connection


def echoed(connection: socket.socket, sent: bytes) -> bytes:
    connection.sendall(sent)
    came = b""
    while len(came) < len(sent) and (data := connection.recv(1 << 16)):
        came += data
    return came


def silent(connection: socket.socket, seconds: float = 0.3) -> bool:
    connection.settimeout(seconds)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(5)
    return False


def test_a_good_wire_passes_every_byte_and_both_ends(wire: FaultProxy, server: EchoServer) -> None:
    with client(wire) as connection:
        assert echoed(connection, TEXT) == TEXT
    assert server.left.acquire(timeout=5)


def test_a_stalled_wire_keeps_what_it_was_given(wire: FaultProxy) -> None:
    with client(wire) as connection, client(wire) as other:
        assert echoed(connection, b"before") == b"before"
        wire.stall()
        connection.sendall(b"during")
        assert silent(connection)
        assert silent(other)
        wire.mend()
        assert connection.recv(100) == b"during"


def test_a_reset_is_told_to_both_sides(wire: FaultProxy, server: EchoServer) -> None:
    with client(wire) as connection:
        assert echoed(connection, b"a") == b"a"
        wire.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        assert server.left.acquire(timeout=5)
        with client(wire) as another:
            assert echoed(another, b"b") == b"b"


def test_a_close_is_told_to_both_sides(wire: FaultProxy, server: EchoServer) -> None:
    with client(wire) as connection:
        assert echoed(connection, b"a") == b"a"
        wire.close()
        assert connection.recv(1) == b""
        assert server.left.acquire(timeout=5)


def test_of_a_forgotten_connection_only_the_server_hears(wire: FaultProxy, server: EchoServer) -> None:
    with client(wire) as connection:
        assert echoed(connection, b"a") == b"a"
        wire.forget()
        assert server.left.acquire(timeout=5)
        connection.sendall(b"anyone there?")
        assert silent(connection)
        with client(wire) as another:
            assert echoed(another, b"b") == b"b"
            wire.reset()
            with pytest.raises(ConnectionResetError):
                another.recv(1)


def test_a_slow_wire_passes_so_many_bytes_a_second(wire: FaultProxy) -> None:
    wire.slow(20_000)
    with client(wire) as connection:
        began = time.monotonic()
        assert echoed(connection, TEXT[:10_000]) == TEXT[:10_000]
    assert time.monotonic() - began >= 0.5


def test_a_corrupting_wire_changes_its_share_of_what_the_server_sends(wire: FaultProxy) -> None:
    wire.corrupt(0.01)
    with client(wire) as connection:
        came = echoed(connection, TEXT)
        assert len(came) == len(TEXT)
        wrong = sum(one != other for one, other in zip(came, TEXT, strict=True))
        assert 0.005 < wrong / len(TEXT) < 0.015
        wire.mend()
        assert echoed(connection, TEXT) == TEXT


def test_a_wire_that_refuses_keeps_what_is_open(wire: FaultProxy) -> None:
    with client(wire) as connection:
        assert echoed(connection, b"a") == b"a"
        wire.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", wire.port), 5).close()
        assert echoed(connection, b"b") == b"b"
        wire.mend()
        with client(wire) as another:
            assert echoed(another, b"c") == b"c"


def test_a_server_that_is_gone_is_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    # The reset may come as early as while connecting.
    with FaultProxy(port) as wire, pytest.raises(ConnectionResetError), client(wire) as connection:
        connection.recv(1)


def test_connections_that_ended_are_forgotten(wire: FaultProxy) -> None:
    for _ in range(20):
        with client(wire) as connection:
            assert echoed(connection, b"a") == b"a"
    for _ in range(200):
        if wire.connections == 0:
            break
        time.sleep(0.01)
    assert (wire.joined, wire.connections) == (20, 0)


LOOK_UP = """
import socket
try:
    print(socket.getaddrinfo("camera.test", 554, type=socket.SOCK_STREAM)[0][4][0])
except socket.gaierror as error:
    print(error.errno == socket.EAI_NONAME)
"""


def test_a_private_resolver_is_asked_each_time(tmp_path: Path) -> None:
    if reason := why_absent():
        pytest.skip(reason)

    def looked_up() -> str:
        ask = [*python(tmp_path), "-c", LOOK_UP]
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()

    with Resolver() as resolver:
        assert looked_up() == "127.0.0.1"
        resolver.mode = "unknown"
        assert looked_up() == "True"
        resolver.mode = "answering"
        assert looked_up() == "127.0.0.1"
        assert resolver.asked >= 3
