"""A camera on a real stream that breaks: it comes back by itself, and the numbers still add up."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.capture.backoff import reconnect_delays
from monitor.capture.camera import Camera
from monitor.capture.sources.base import Source
from monitor.capture.sources.opening import open_source
from monitor.errors import SourceError
from tests.support.rtsp_server import LiveServer, RtspServer, number_in
from tests.support.scripted_camera import RecordingListener, make, wait_for


@pytest.fixture
def server(needs_rtsp: None, folder: Path) -> Iterator[RtspServer]:
    with RtspServer(folder, fps=20) as server:
        yield server


def watch(server: RtspServer) -> tuple[Camera, RecordingListener]:
    camera, listener = make(
        lambda: open_source(server.url, open_timeout=1, read_timeout=1),
        frames="newest",
        buffer=4,
        delays=reconnect_delays,
    )
    camera.start()
    return camera, listener


def take_until(camera: Camera, listener: RecordingListener, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(listener.taken) < count:
        assert time.monotonic() < deadline, f"no further frame; {listener.states()}"
        listener.woken.wait(1)
        listener.woken.clear()
        listener.keep(camera.take(2))


def settle(camera: Camera, listener: RecordingListener) -> None:
    assert camera.stop(10)
    while frames := camera.take(9):
        listener.keep(frames)
    numbers = [frame.number for frame in listener.taken]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + listener.lost() == camera.next_frame_number


def test_a_server_that_is_killed_and_comes_back_is_seen_again(server: RtspServer):
    camera, listener = watch(server)
    take_until(camera, listener, 10)
    server.stop()
    wait_for(lambda: "down refused" in listener.states())
    seen = len(listener.taken)
    server.start()
    take_until(camera, listener, seen + 10)
    settle(camera, listener)
    states = listener.states()
    assert states[:3] == ["starting", "up", "down end-of-stream"]
    assert states[-2:] == ["up", "ended"]


def test_a_server_that_falls_silent_is_a_timeout_and_is_seen_again(server: RtspServer):
    camera, listener = watch(server)
    take_until(camera, listener, 10)
    assert server.process_id is not None
    os.kill(server.process_id, signal.SIGSTOP)
    wait_for(lambda: "down timeout" in listener.states())
    seen = len(listener.taken)
    os.kill(server.process_id, signal.SIGCONT)
    take_until(camera, listener, seen + 10)
    settle(camera, listener)


def test_silence_is_told_once_the_read_timeout_is_over_and_not_twice_as_late(server: RtspServer):
    source = open_source(server.url, open_timeout=5, read_timeout=2)
    for _ in range(5):
        assert source.read() is not None
    assert server.process_id is not None
    os.kill(server.process_id, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(SourceError) as caught:
        _drain(source)
    assert caught.value.cause == "timeout"
    assert time.monotonic() - began < 3.5
    source.close()


def test_the_first_picture_is_not_held_back_while_the_stream_is_examined(needs_rtsp: None):
    ages = []
    with LiveServer(fps=5) as server:
        for _ in range(3):  # on a busy machine one may be late for reasons of its own
            source = open_source(server.address("0"))
            image = source.read()
            now = time.monotonic()
            found = None if image is None else number_in(image)
            assert found is not None
            ages.append(now * server.fps - found[1])
            source.close()
    assert min(ages) < 5, "in frame periods"


def test_reconnecting_leaves_no_file_and_no_thread_behind(server: RtspServer):
    def held() -> int:
        return len(list(Path("/proc/self/fd").iterdir())) + len(list(Path("/proc/self/task").iterdir()))

    for _ in range(2):
        _look(server)
    before = held()
    for _ in range(8):
        _look(server)
    assert held() <= before


def _drain(source: Source) -> None:
    while source.read() is not None:
        pass


def _look(server: RtspServer) -> None:
    source = open_source(server.url)
    assert source.read() is not None
    source.close()
