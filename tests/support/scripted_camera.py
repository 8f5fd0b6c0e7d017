"""Cameras whose source is a script, and who hears what they say.

The reader runs in a thread, so that the source can be a script; the connection, the memory and the
supervision are the real ones.
"""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from monitor.capture.camera import Camera
from monitor.capture.config import CaptureConfig, Tiles
from monitor.capture.messages import SourceEnded, encode
from monitor.capture.supervisor import spawn_worker
from monitor.capture.worker.channel import DaemonChannel
from monitor.capture.worker.reader import FrameChecks, SourceReader
from monitor.records import Box, CameraStateChange, Frame, Gap, Image

PICTURE = np.zeros((2, 2, 3), np.uint8)


class ScriptedSource:
    """A source that plays a list: pictures, errors to raise, seconds to wait, functions to call."""

    def __init__(self, steps: object, *, live: bool = False, interval: float | None = None) -> None:
        self.live = live
        self.frame_interval = interval
        self.source_time = None
        self.stream_time = None
        self.closed = False
        self._steps = iter(steps)

    def read(self) -> Image | None:
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                time.sleep(step)
            elif callable(step):
                step()
            else:
                return step
        return None

    def close(self) -> None:
        self.closed = True


class RecordingListener:
    """Hears what a camera reports and takes its frames."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []
        self.changes: list[CameraStateChange] = []
        self.taken: list[Frame] = []
        self.woken = threading.Event()

    def report(self, told: Gap | CameraStateChange) -> None:
        (self.gaps if isinstance(told, Gap) else self.changes).append(told)

    def keep(self, frames: list[Frame]) -> None:
        """Remembers frames without their memory, which the camera needs for the next ones."""
        nothing = np.empty(0, np.uint8)
        self.taken += [replace(frame, image=nothing, tile_inputs=nothing) for frame in frames]

    def states(self) -> list[str]:
        return [change.state + (f" {change.cause}" if change.cause else "") for change in self.changes]

    def consume(self, camera: Camera, pauses: Iterator[float] | None = None, limit: int = 3) -> None:
        """Takes frames until the camera has ended."""
        pauses = pauses or itertools.repeat(0.0)
        deadline = time.monotonic() + 30
        while not camera.ended:
            assert time.monotonic() < deadline, "the camera did not end"
            self.woken.wait(0.2)
            self.woken.clear()
            while frames := camera.take(limit):
                self.keep(frames)
                del frames  # with them, their memory
                time.sleep(next(pauses))

    def lost(self) -> int:
        return sum(gap.frames for gap in self.gaps)


def no_delay() -> Iterator[float]:
    return itertools.repeat(0.0)


class ThreadWorker:
    """Stands in for the capture process: a reader in a thread, at the other end of a real connection."""

    pid = 0

    def __init__(
        self, connection: socket.socket, reader: Callable[[DaemonChannel], SourceReader], slots: int
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._slots = slots
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def _run(self) -> None:
        with contextlib.suppress(OSError), self._connection:
            self._reader(DaemonChannel(self._connection, self._slots)).run()
            self._connection.send(encode(SourceEnded()))


def whole(image: Image) -> Tiles:
    return (Box(0, 0, image.shape[1], image.shape[0]),), image[None]


def make(
    open_source: Callable[[], ScriptedSource],
    frames: str = "every",
    *,
    buffer: int = 8,
    slots: int | None = None,
    reopen: bool = True,
    delays: Callable[[], Iterator[float]] = no_delay,
    inspection: FrameChecks = FrameChecks(whole),  # noqa: B008 (frozen)
    **options: object,
) -> tuple[Camera, RecordingListener]:
    listener = RecordingListener()

    def reader(port: DaemonChannel) -> SourceReader:
        return SourceReader(
            open_source, port, inspection, every=frames == "every", reopen=reopen, delays=delays
        )

    room = slots or (buffer if frames == "every" else buffer + 4)
    camera = Camera(
        "cam",
        lambda connection: ThreadWorker(connection, reader, room),
        keep_every_frame=frames == "every",
        buffer=buffer,
        report=listener.report,
        on_frame=listener.woken.set,
        **{"delays": no_delay, **options},
    )
    return camera, listener


def raiser(errors: list[Exception | ScriptedSource]) -> Callable[[], ScriptedSource]:
    """Opens or fails as listed."""
    waiting = iter(errors)

    def open_source() -> ScriptedSource:
        outcome = next(waiting)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return open_source


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


LINE = CaptureConfig(
    source="simulate:?seed=3&size=128x96",
    every=False,
    reopen=True,
    input_size=(32, 48),
    buffer_slots=16,
    fps=60,
)


def watch(order: CaptureConfig, **options: object) -> tuple[Camera, RecordingListener]:
    """Start a camera with a real capture process."""
    listener = RecordingListener()
    camera = Camera(
        "cam",
        partial(spawn_worker, "cam", order),
        keep_every_frame=order.every,
        report=listener.report,
        on_frame=listener.woken.set,
        **options,
    )
    camera.start()
    return camera, listener
