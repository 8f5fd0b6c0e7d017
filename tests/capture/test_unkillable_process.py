"""A capture process that cannot be killed costs its own camera alone."""

import contextlib
import socket
import subprocess
import threading
import time

from monitor.capture.camera import Camera
from tests.support.scripted_camera import RecordingListener


class UnkillableProcess:
    """A process in state D: it says nothing, keeps its connection, and ends only when `release` is set."""

    pid = 0

    def __init__(self, connection: socket.socket, release: threading.Event) -> None:
        self._connection = connection
        self._release = release

    def kill(self) -> None:
        pass

    def wait(self, timeout: float | None = None) -> int:
        if self._release.wait(timeout):
            with contextlib.suppress(OSError):
                self._connection.close()
            return -9
        raise subprocess.TimeoutExpired("capture", timeout or 0)


def camera(listener: RecordingListener, release: threading.Event, started: list[float]) -> Camera:
    def launch(connection: socket.socket) -> UnkillableProcess:
        started.append(time.monotonic())
        return UnkillableProcess(connection, release)

    return Camera(
        "stuck",
        launch,
        keep_every_frame=False,
        report=listener.report,
        startup_timeout=0.3,
    )


def test_its_supervision_shows_progress_and_starts_no_other_until_it_has_ended() -> None:
    listener, release, started = RecordingListener(), threading.Event(), list[float]()
    stuck = camera(listener, release, started)
    stuck.start()
    deadline = time.monotonic() + 10
    while not any("cannot be killed" in (it.detail or "") for it in listener.changes):
        assert time.monotonic() < deadline
        assert time.monotonic() - stuck.progressed_at < 1
        time.sleep(0.05)
    assert len(started) == 1
    release.set()
    while len(started) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stuck.stop(1)


def test_a_stop_does_not_wait_for_it() -> None:
    listener, release, started = RecordingListener(), threading.Event(), list[float]()
    stuck = camera(listener, release, started)
    stuck.start()
    time.sleep(1)
    began = time.monotonic()
    stuck.stop(0.5)
    assert time.monotonic() - began < 2
    assert stuck.ended
    release.set()
