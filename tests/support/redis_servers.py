"""The servers that the tests run on: the one we embed, Debian's, and those that `.ci/servers` fetches."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from monitor.errors import MonitorError
from monitor.tools.demo.embedded_redis import find_server
from tests.support import ROOT

EMBEDDED, DEBIANS = "the server we embed", "redis-server"


SERVERS = (EMBEDDED, DEBIANS, "redis-6.2", "redis-8.2", "valkey-8.0")


FETCHED = ROOT / "build" / "servers"


def server_program(name: str) -> Path:
    """The program of this name; skips the test where it is not to be had."""
    if name == EMBEDDED:
        try:
            return find_server()
        except MonitorError as error:
            pytest.skip(str(error))
    found = shutil.which(DEBIANS) if name == DEBIANS else None
    program = Path(found) if found else FETCHED / name
    if not os.access(program, os.X_OK):
        pytest.skip(f"there is no {name} on this machine: .ci/servers fetches it")
    if not _runs(program):
        pytest.skip(f"{program} does not run on this machine")
    return program


@cache
def _runs(program: Path) -> bool:
    return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0


def wait_until(true: Callable[[], object], timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


class ServerProcess:
    """A real server at a fixed free port of this machine."""

    def __init__(self, folder: Path, program: Path, *options: str) -> None:
        self.port = 65535
        while self.port > 55_000:  # a cluster's node takes the port 10000 above as well
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        self.folder, self.program, self.options = folder, program, options
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [str(self.program), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.folder), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with self.client(retry=Retry(NoBackoff(), 0), socket_timeout=1) as client:
                client.ping()
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False
        return True

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, **options: Any) -> Any:
        return redis.Redis(port=self.port, protocol=2, **options)

    def name(self) -> str:
        """Such as `Valkey 9.1.2`."""
        with self.client() as client:
            info = client.info("server")
        return (
            f"Valkey {info['valkey_version']}"
            if "valkey_version" in info
            else f"Redis {info['redis_version']}"
        )


@pytest.fixture
def program(request: pytest.FixtureRequest) -> Path:
    """The server that `make_server` starts: the one we embed, or one of `SERVERS` by indirect parameters."""
    return server_program(getattr(request, "param", EMBEDDED))


@pytest.fixture
def make_server(tmp_path: Path, program: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start a server of one's own, with options as on its command line."""
    started: list[ServerProcess] = []

    def start(*options: str) -> ServerProcess:
        server = ServerProcess(tmp_path, program, *options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        if server.process is not None:
            server.signal(signal.SIGCONT)
        server.stop()


@pytest.fixture
def client(valkey: str) -> Iterator[Any]:
    """A plain client of the shared server."""
    with redis.Redis.from_url(valkey, protocol=2) as plain:
        yield plain


class SentinelProcess(ServerProcess):
    """A Sentinel that watches a primary."""

    def __init__(self, folder: Path, program: Path, primary: int) -> None:
        super().__init__(folder, program)
        self.config = folder / f"sentinel-{self.port}.conf"
        self.config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor line 127.0.0.1 {primary} 1\n"
            "sentinel down-after-milliseconds line 500\nsentinel failover-timeout line 3000\n"
        )

    def start(self) -> None:
        self.process = subprocess.Popen(
            [str(self.program), str(self.config), "--sentinel"], stdout=subprocess.DEVNULL
        )
        wait_until(self._answers)
