"""Cameras with real capture processes: what dies or hangs is replaced, and nothing is left behind."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from monitor.capture.camera import Camera
from monitor.capture.image_checks import QualityLimits
from monitor.imaging.geometry import resize_to_input
from monitor.records import Box
from tests.support.scripted_camera import LINE, RecordingListener, wait_for, watch


@pytest.fixture
def line() -> Iterator[tuple[Camera, RecordingListener]]:
    camera, listener = watch(LINE, stall_timeout=1.0)
    yield camera, listener
    camera.stop(5)


def take(camera: Camera, listener: RecordingListener, more: int) -> None:
    wanted, deadline = len(listener.taken) + more, time.monotonic() + 60
    while len(listener.taken) < wanted:
        assert time.monotonic() < deadline, f"no further frame; {listener.states()}"
        listener.woken.wait(1)
        listener.woken.clear()
        listener.keep(camera.take(99))


def add_up(camera: Camera, listener: RecordingListener) -> None:
    camera.stop(10)
    listener.keep(camera.take(10**6))
    numbers = [frame.number for frame in listener.taken]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + listener.lost() == camera.next_frame_number


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_replaced_and_its_time_is_told(
    line: tuple[Camera, RecordingListener], how: int
):
    camera, listener = line
    take(camera, listener, 10)
    before = camera.pid
    assert before is not None
    os.kill(before, how)
    wait_for(lambda: "down crashed" in listener.states())
    take(camera, listener, 10)
    assert camera.pid not in {None, before}
    assert not Path(f"/proc/{before}").exists(), "a zombie is left"
    add_up(camera, listener)
    (gap,) = [gap for gap in listener.gaps if gap.frames == 0]
    assert gap.cause == "crashed"
    assert signal.Signals(how).name in (gap.detail or "")


def test_a_process_that_hangs_is_replaced(line: tuple[Camera, RecordingListener]):
    camera, listener = line
    take(camera, listener, 10)
    before = camera.pid
    assert before is not None
    os.kill(before, signal.SIGSTOP)
    take(camera, listener, 30)
    assert "stalled stalled" in listener.states()
    assert not Path(f"/proc/{before}").exists()
    add_up(camera, listener)


def test_frames_in_hand_stay_as_they_are_when_the_process_dies(line: tuple[Camera, RecordingListener]):
    camera, listener = line
    held = []
    while len(held) < 4:
        listener.woken.wait(1)
        held += camera.take(1)
    kept = [frame.image.copy() for frame in held]
    assert camera.pid is not None
    os.kill(camera.pid, signal.SIGKILL)
    take(camera, listener, 40)
    for frame, image in zip(held, kept, strict=True):
        np.testing.assert_array_equal(frame.image, image)
        with pytest.raises(ValueError, match="read-only"):
            frame.image[0, 0] = 0


def test_a_consumer_that_keeps_every_frame_starves_only_itself():
    camera, listener = watch(LINE, buffer=4)
    held = []
    while len(held) < 12:
        listener.woken.wait(1)
        held += camera.take(1)
    kept = [frame.image.copy() for frame in held]
    wait_for(lambda: listener.lost() > 0)
    for frame, image in zip(held, kept, strict=True):
        np.testing.assert_array_equal(frame.image, image)
    listener.keep(held)
    add_up(camera, listener)
    assert {gap.cause for gap in listener.gaps} <= {"overload", "late"}


def test_the_parts_shown_to_the_network_are_those_of_the_settings():
    order = replace(LINE, roi=(10, 20, 90, 80), tiles=(2, 2), overlap=0.2)
    camera, listener = watch(order)
    frames = []
    while not frames:
        listener.woken.wait(1)
        frames = camera.take(1)
    (frame,) = frames
    assert frame.image.shape == (96, 128, 3)
    assert frame.tile_inputs.shape == (4, 32, 48, 3)
    assert (frame.tile_boxes[0].left, frame.tile_boxes[0].top) == (10, 20)
    assert frame.tile_boxes[3] == Box(frame.tile_boxes[3].left, frame.tile_boxes[3].top, 90, 80)
    for box, shown in zip(frame.tile_boxes, frame.tile_inputs, strict=True):
        part = frame.image[box.top : box.bottom, box.left : box.right]
        np.testing.assert_array_equal(shown, resize_to_input(part, (32, 48)))
    listener.keep(frames)
    add_up(camera, listener)


def test_a_picture_is_looked_at_where_it_is_inspected(tmp_path: Path):
    shown = np.random.default_rng(1).integers(60, 200, (100, 100, 3), np.uint8)
    dark_around, dark_inside = np.zeros((400, 400, 3), np.uint8), np.zeros((400, 400, 3), np.uint8)
    dark_around[:100, :100] = dark_inside[100:200, 100:200] = shown
    for number, picture in enumerate((dark_around, dark_inside)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    limits = QualityLimits(
        black=10, white=250, uniform=1, saturated=0.5, smeared=1, blurred=0, noise=0, torn=0
    )
    order = replace(LINE, source=str(tmp_path), every=True, reopen=False, fps=None, limits=limits)
    camera, listener = watch(replace(order, roi=(0, 0, 100, 100)), finite=True)
    wait_for(lambda: "ended" in listener.states())
    listener.keep(camera.take(9))
    assert [frame.number for frame in listener.taken] == [0]
    assert [gap.cause for gap in listener.gaps] == ["unusable"]


def test_pictures_that_grow_get_larger_memory(tmp_path: Path):
    shapes = [(40, 60), (90, 120), (20, 30), (200, 100)]
    for number, shape in enumerate(shapes):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((*shape, 3), 10 * number, np.uint8))
    order = replace(LINE, source=str(tmp_path), every=True, reopen=False, fps=None, buffer_slots=3)
    camera, listener = watch(order, finite=True)
    seen = []
    while not camera.ended:
        listener.woken.wait(1)
        listener.woken.clear()
        for frame in camera.take(9):
            assert frame.image.min() == frame.image.max() == 10 * frame.number
            seen.append(frame.image.shape[:2])
    assert seen == shapes


def test_a_file_whose_process_dies_is_not_inspected_from_its_start_again(tmp_path: Path):
    for number in range(40):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((20, 20, 3), number, np.uint8))
    order = replace(LINE, source=str(tmp_path), every=True, reopen=False, fps=None, buffer_slots=2)
    camera, listener = watch(order, finite=True)
    wait_for(lambda: camera.next_frame_number >= 2)
    assert camera.pid is not None
    os.kill(camera.pid, signal.SIGKILL)
    wait_for(lambda: "ended" in listener.states())
    assert listener.states() == ["starting", "up", "down crashed", "ended"]


def test_no_secret_of_the_address_is_in_the_process_list_or_its_environment():
    order = replace(LINE, source="rtsp://alice:s3cret-word@127.0.0.1:9/x")
    camera, listener = watch(order)
    wait_for(lambda: "down refused" in listener.states())
    for name in ("cmdline", "environ"):
        assert b"s3cret-word" not in Path(f"/proc/{camera.pid}/{name}").read_bytes()
    camera.stop(5)
    assert not any("s3cret-word" in (change.detail or "") for change in listener.changes)


def test_replacing_processes_leaves_no_descriptor_thread_or_process_behind():
    def held() -> int:
        return sum(len(list(Path(f"/proc/self/{kind}").iterdir())) for kind in ("fd", "task"))

    camera, listener = watch(LINE, delays=lambda: iter(lambda: 0.0, None))
    take(camera, listener, 2)
    before = held()
    for _ in range(6):
        pid = camera.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: camera.pid not in {None, pid})
        take(camera, listener, 2)
    wait_for(lambda: held() <= before)
    add_up(camera, listener)


def test_the_capture_process_ends_with_the_daemon(tmp_path: Path):
    """A daemon that is killed leaves no process that holds the camera."""
    script = (
        "import os, time\n"
        "from tests.support.scripted_camera import LINE, watch\n"
        "camera, listener = watch(LINE)\n"
        "while not listener.woken.wait(0.1): pass\n"
        "print(camera.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    import subprocess

    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        child = int(daemon.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        daemon.kill()
        wait_for(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except FileNotFoundError:
        return False


def _flood(connection: socket.socket) -> None:
    """A capture process of a 12-megapixel camera, run by the test below."""
    from datetime import UTC, datetime

    from monitor.capture.messages import SourceEnded, encode
    from monitor.capture.worker.channel import DaemonChannel
    from monitor.capture.worker.reader import CaptureTime

    port = DaemonChannel(connection, 8)
    image = np.zeros((3000, 4000, 3), np.uint8)
    boxes = (Box(0, 0, 4000, 3000),)
    for number in range(60):
        if not port.wait_for_slot():
            break
        image[0, 0] = image[-1, -1] = number
        inputs = np.full((1, 224, 224, 3), number, np.uint8)
        port.send_frame(image, (boxes, inputs), CaptureTime(datetime.now(UTC), time.monotonic()), 0.0)
    connection.send(encode(SourceEnded()))


def test_pictures_of_twelve_megapixels_arrive_whole_and_in_order():
    import multiprocessing

    class Forked:
        def __init__(self, connection: socket.socket) -> None:
            self._process = multiprocessing.get_context("fork").Process(target=_flood, args=(connection,))
            self._process.start()
            connection.close()
            assert self._process.pid is not None
            self.pid = self._process.pid

        def kill(self) -> None:
            self._process.kill()

        def wait(self, timeout: float | None = None) -> int:
            self._process.join(timeout)
            return self._process.exitcode or 0

    listener = RecordingListener()
    start: Callable[[socket.socket], Forked] = Forked
    camera = Camera("cam", start, keep_every_frame=True, report=listener.report, on_frame=listener.woken.set)
    camera.start()
    numbers = []
    while not camera.ended:
        listener.woken.wait(1)
        listener.woken.clear()
        for frame in camera.take(4):
            assert frame.image.shape == (3000, 4000, 3)
            assert (
                frame.image[0, 0, 0]
                == frame.image[-1, -1, 2]
                == frame.tile_inputs[0, 9, 9, 1]
                == frame.number
            )
            numbers.append(frame.number)
    assert numbers == list(range(60))
    assert not listener.gaps
