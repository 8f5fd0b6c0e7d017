"""Findings to publish, and servers that can be stopped, paused and locked."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from monitor.publish.document import Event, build_event
from monitor.publish.keys import Keys
from monitor.publish.parcel import Parcel
from monitor.records import Box, Explanation, Finding, Frame, Region, Verdict
from tests.publish.servers import EMBEDDED, server_program

BEGIN = datetime(2026, 11, 23, 4, 5, 6, 789, tzinfo=UTC)


def make_finding(number: int = 0, camera: str = "top", regions: bool = True) -> Finding:
    frame = Frame(
        camera,
        number,
        BEGIN + timedelta(milliseconds=40 * number),
        float(number),
        np.zeros((48, 64, 3), np.uint8),
        (Box(0, 0, 64, 48),),
        np.zeros((1, 8, 8, 3), np.uint8),
    )
    region = Region(
        box=Box(3, 4, 13, 24),
        centroid=(8.123456, 14.5),
        peak_at=(7.0, 12.0),
        peak=0.987654,
        area=150,
        contour=((3, 4), (12, 4), (12, 23), (3, 23)),
    )
    return Finding(
        frame,
        Verdict("defect", 0.91234567, 0.5),
        Explanation("faster-score-cam", 10, "full"),
        (region,) if regions else (),
        {"capture": 0.0012345678, "classify": 0.016},
    )


def make_event(number: int = 0, camera: str = "top", prefix: str = "defects") -> Event:
    return build_event(
        make_finding(number, camera), model_name="dagm-class1", model_sha256="a" * 64, keys=Keys(prefix)
    )


def make_jpeg(shade: int = 128, size: int = 64) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((size, size, 3), shade, np.uint8))
    assert done
    return bytes(data)


def make_parcel(number: int = 0, camera: str = "top", prefix: str = "defects", raw: bool = False) -> Parcel:
    return Parcel.of(
        make_event(number, camera, prefix), make_jpeg(number % 256), make_jpeg(9) if raw else None
    )


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
