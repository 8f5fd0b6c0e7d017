"""A camera of a live server behind a wire, and somebody who takes its frames and notes which they were."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

from monitor.capture.camera import Camera
from monitor.capture.order import Order
from monitor.capture.sanity import Limits
from monitor.capture.worker import launch
from monitor.records import CameraChange, Frame, Gap
from monitor.settings.model import SanitySettings
from tests.capture.rtsp_server import LiveServer, number_in
from tests.faults.wire import Wire

PATIENCE = 40.0
"""Seconds after which a frame that does not come will not come: far beyond what is promised."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that was taken: `number` is the camera's, `mark` the server's, None where it is damaged."""

    number: int
    monotonic: float
    at: datetime
    mark: int | None
    size: tuple[int, int]


class Watcher:
    """Takes all frames of a camera as soon as they come."""

    def __init__(self, url: str, buffer: int = 8, **settings: Any) -> None:
        self.seen: list[Seen] = []
        self.gaps: list[Gap] = []
        self.changes: list[CameraChange] = []
        self._woken = threading.Condition()
        self._over = False
        self.camera = make_camera(url, self._report, self._wake, buffer, **settings)
        self._thread = threading.Thread(target=self._take, name="taker", daemon=True)

    def states(self) -> list[str]:
        """The changes of state in words."""
        return [change.state + (f" {change.cause}" if change.cause else "") for change in self.changes]

    def wait_for(self, found: Callable[[Seen], bool], since: int = 0) -> Seen:
        """The first frame, from place `since` in `seen` on, of which `found` is true."""
        deadline = time.monotonic() + PATIENCE
        place = since
        with self._woken:
            while True:
                for frame in self.seen[place:]:
                    if found(frame):
                        return frame
                place = max(place, len(self.seen))
                left = deadline - time.monotonic()
                assert left > 0, f"no such frame in {PATIENCE:g} s; {self.states()[-6:]}"
                self._woken.wait(left)

    def stop(self) -> None:
        """Ends the camera, and sees that every number is accounted for."""
        assert self.camera.stop(10)
        with self._woken:
            self._over = True
            self._woken.notify_all()
        self._thread.join()
        numbers = [frame.number for frame in self.seen]
        assert numbers == sorted(set(numbers))
        assert len(numbers) + sum(gap.frames for gap in self.gaps) == self.camera.captured

    def __enter__(self) -> Self:
        self.camera.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        else:
            self.camera.stop(10)

    def _report(self, told: Gap | CameraChange) -> None:
        (self.gaps if isinstance(told, Gap) else self.changes).append(told)

    def _wake(self) -> None:
        with self._woken:
            self._woken.notify_all()

    def _take(self) -> None:
        with self._woken:
            while True:
                frames = self.camera.take(100)
                self.seen += map(_noted, frames)
                if frames:
                    self._woken.notify_all()
                elif self._over:
                    return
                else:
                    self._woken.wait(1)


def _noted(frame: Frame) -> Seen:
    found = number_in(frame.image)
    mark = found and found[1]
    return Seen(frame.number, frame.monotonic, frame.captured_at, mark, frame.image.shape[1::-1])


class Place:
    """One camera of one server, with a wire between, unless `direct`."""

    def __init__(self, seed: int = 1, *, fps: int = 10, direct: bool = False, **settings: Any) -> None:
        self.server = LiveServer(fps=fps, user="user", password="right")
        self._seed, self._direct, self._settings = seed, direct, settings
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            held.enter_context(self.server)
            self.wire = held.enter_context(Wire(self.server.port, self._seed))
            url = self.server.address("0", port=None if self._direct else self.wire.port)
            self.watcher = held.enter_context(Watcher(url, **self._settings))
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def signal(self, number: int) -> None:
        """Send a signal to the process that reads the camera."""
        pid = self.watcher.camera.pid
        assert pid is not None
        os.kill(pid, number)

    def settled(self) -> Seen:
        """A good frame after at least half a second of good frames."""
        began = time.monotonic()
        return self.watcher.wait_for(lambda frame: frame.monotonic > began + 0.5 and frame.mark is not None)


def make_camera(
    url: str,
    report: Callable[[Gap | CameraChange], None],
    wake: Callable[[], None],
    buffer: int,
    *,
    frozen: int = 0,
    launch: Callable[..., "subprocess.Popen[bytes]"] = launch,
    **more: Any,
) -> Camera:
    """A camera whose settings are the defaults but for what is said."""
    order = Order(
        source=url,
        every=False,
        reopen=True,
        input_size=(224, 224),
        slots=buffer + 16,
        frozen=frozen,
        limits=Limits(**SanitySettings().model_dump(exclude={"enabled"})),
    )
    return Camera(
        "camera",
        partial(launch, "camera", order),
        every=False,
        report=report,
        on_frame=wake,
        buffer=buffer,
        **more,
    )
