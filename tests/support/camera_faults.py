"""A camera of a live server behind a wire, and somebody who takes its frames and notes which they were."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from monitor.capture.backoff import MAX_DELAY
from monitor.capture.camera import Camera
from monitor.capture.config import CaptureConfig
from monitor.capture.image_checks import QualityLimits
from monitor.capture.supervisor import spawn_worker
from monitor.records import CameraStateChange, Frame, Gap
from monitor.settings.camera import SanitySettings
from tests.support.fault_proxy import FaultProxy
from tests.support.rtsp_server import LiveServer, number_in

PATIENCE = 40.0
"""Seconds after which a frame that does not come will not come: far beyond what is promised."""


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """A frame that was taken: `number` is the camera's, `mark` the server's, None where it is damaged."""

    number: int
    monotonic: float
    at: datetime
    mark: int | None
    size: tuple[int, int]


class FrameRecorder:
    """Takes all frames of a camera as soon as they come."""

    def __init__(self, url: str, buffer: int = 8, **settings: Any) -> None:
        self.seen: list[RecordedFrame] = []
        self.gaps: list[Gap] = []
        self.changes: list[CameraStateChange] = []
        self._woken = threading.Condition()
        self._over = False
        self.camera = make_camera(url, self._report, self._wake, buffer, **settings)
        self._thread = threading.Thread(target=self._take, name="taker", daemon=True)

    def states(self) -> list[str]:
        """The changes of state in words."""
        return [change.state + (f" {change.cause}" if change.cause else "") for change in self.changes]

    def wait_for(self, found: Callable[[RecordedFrame], bool], since: int = 0) -> RecordedFrame:
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
        assert len(numbers) + sum(gap.frames for gap in self.gaps) == self.camera.next_frame_number

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

    def _report(self, told: Gap | CameraStateChange) -> None:
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


def _noted(frame: Frame) -> RecordedFrame:
    found = number_in(frame.image)
    mark = found and found[1]
    return RecordedFrame(frame.number, frame.monotonic, frame.captured_at, mark, frame.image.shape[1::-1])


class CameraUnderTest:
    """One camera of one server, with a wire between, unless `direct`."""

    def __init__(self, seed: int = 1, *, fps: int = 10, direct: bool = False, **settings: Any) -> None:
        self.server = LiveServer(fps=fps, user="user", password="right")
        self._seed, self._direct, self._settings = seed, direct, settings
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            held.enter_context(self.server)
            self.wire = held.enter_context(FaultProxy(self.server.port, self._seed))
            url = self.server.address("0", port=None if self._direct else self.wire.port)
            self.watcher = held.enter_context(FrameRecorder(url, **self._settings))
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

    def settled(self) -> RecordedFrame:
        """A good frame after at least half a second of good frames."""
        began = time.monotonic()
        return self.watcher.wait_for(lambda frame: frame.monotonic > began + 0.5 and frame.mark is not None)


def make_camera(
    url: str,
    report: Callable[[Gap | CameraStateChange], None],
    wake: Callable[[], None],
    buffer: int,
    *,
    frozen: int = 0,
    launch: Callable[..., "subprocess.Popen[bytes]"] = spawn_worker,
    **more: Any,
) -> Camera:
    """A camera with the default settings but for what is said; a busy machine drops none of its frames."""
    order = CaptureConfig(
        source=url,
        transport="tcp",  # the fault proxy carries TCP; `auto` changes to UDP, past the proxy
        every=False,
        reopen=True,
        input_size=(224, 224),
        buffer_slots=buffer + 16,
        buffer=buffer,
        max_age=60.0,
        frozen_after=frozen,
        limits=QualityLimits(**SanitySettings().model_dump(exclude={"enabled"})),
    )
    return Camera(
        "camera",
        partial(launch, "camera", order),
        keep_every_frame=False,
        report=report,
        on_frame=wake,
        buffer=buffer,
        max_age=order.max_age,
        **more,
    )


FULL_RUN = os.environ.get("FAULTS") == "long"
"""Whether this is `make faults`, with all repetitions, rather than the short part in the tests."""


RECOVERY_LIMIT = 5.0 if FULL_RUN else PATIENCE
"""Seconds after the source's return in which a good frame must come. The short part says nothing of speed."""


STEADY = MAX_DELAY + 0.5
"""Seconds that a camera is well before the next fault: one that flaps is not opened again at once."""


NEAR = timedelta(seconds=1.0 if FULL_RUN else 3.0)
"""By how much what is said of a gap may differ from what was done; the short part runs on busy machines."""


Where = TypeVar("Where")


@dataclass(frozen=True)
class Fault(Generic[Where]):
    """When `act` returns, the source is back. A gap must tell one of `causes`, and none beside `also`."""

    name: str
    inject: Callable[[Where, int], None]
    causes: set[str]
    also: set[str] = field(default_factory=set)
    settings: dict[str, Any] = field(default_factory=dict)
    interrupts: bool = True
    """Whether the camera must be seen in another state than `up` before it counts as back."""
    direct: bool = False
    """Whether the camera is read without a wire between."""
    unsaid: float = 0.0
    """Seconds without a picture that need not be told: before `silence` is over, a camera is not silent."""
    opening: float = 0.0
    """Seconds that an opening which the fault has disturbed may still take after the source's return."""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class FaultResult:
    """What came of a fault made once: seconds from the source's return to a good frame, frames not seen."""

    recovery: float
    lost: int
    causes: tuple[str, ...]
    damaged: int


def one_round(place: CameraUnderTest, fault: Fault[CameraUnderTest], number: int) -> FaultResult:
    """Make the fault, wait for the next good frame, and hold what was said against what was done."""
    watcher, before = place.watcher, place.settled()
    rate, taken = place.server.fps, watcher.seen.index(before) + 1
    began, said, changed = datetime.now(UTC), len(watcher.gaps), len(watcher.changes)
    fault.inject(place, number)
    returned, now_rate = time.monotonic(), place.server.fps

    def good(frame: RecordedFrame) -> bool:
        # A picture's mark is its time: one from before the return is old, or frozen.
        whole = frame.mark is not None and frame.size == place.server.size
        # What was under way when the fault came is no return.
        again = not fault.interrupts or any(
            change.state != "up" and change.at < frame.at for change in watcher.changes[changed:]
        )
        return again and whole and frame.mark / now_rate > returned - 0.2

    back = watcher.wait_for(good, taken)
    time.sleep(2.5)  # the gap is said with its end, merged with what else a second brings
    between = [frame for frame in watcher.seen[taken:] if frame.number < back.number]
    causes = check_gaps(fault, watcher.gaps[said:], began, back.at)
    unseen = round((back.monotonic - before.monotonic) * rate) - 1
    marked = len({frame.mark for frame in between if frame.mark is not None})
    return FaultResult(
        recovery=back.monotonic - returned,
        lost=max(0, unseen - marked),
        causes=causes,
        damaged=sum(frame.mark is None for frame in between),
    )


def check_gaps(
    fault: Fault[Any], gaps: list[Gap], began: datetime, back: datetime, returned: datetime | None = None
) -> tuple[str, ...]:
    """That gaps cover the time from the fault to the first good frame, for the right cause; their causes.

    Where `back` is a later good frame than the first, the gaps end between `returned`, when the source came
    back, and `back`.
    """
    told = [(gap.cause, str(gap.started_at.time()), str(gap.ended_at.time())) for gap in gaps]
    said = f"{fault}: {began.time()} to {back.time()} was told as {told}"
    assert gaps, said
    causes = {gap.cause for gap in gaps}
    assert causes & fault.causes, said
    assert causes <= fault.causes | fault.also, said
    unsaid = NEAR + timedelta(seconds=fault.unsaid)
    covered, over = began + unsaid, max(gap.ended_at for gap in gaps)
    for gap in sorted(gaps, key=lambda gap: gap.started_at):
        assert gap.started_at <= covered, f"a hole: {said}"
        covered = max(covered, gap.ended_at + unsaid)
    assert -NEAR <= min(gap.started_at for gap in gaps) - began <= unsaid, said
    assert (returned or back) - NEAR <= over <= back + NEAR, said
    return tuple(sorted(causes))


def all_rounds(fault: Fault[CameraUnderTest], count: int, together: Barrier) -> list[FaultResult]:
    """The fault again and again on one camera, at moments that have nothing to do with its pictures.

    They begin `together`, when all cameras are up: to start many processes takes a small machine a while.
    """
    pick = random.Random(fault.name)
    rounds = []
    with CameraUnderTest(pick.randrange(1 << 30), direct=fault.direct, **fault.settings) as place:
        place.settled()
        together.wait(PATIENCE)
        for number in range(count):
            time.sleep(pick.uniform(STEADY - 2.5, STEADY - 1.5))
            rounds.append(one_round(place, fault, number))
    return rounds


SILENT = {"stalled", "timeout"}


BROKEN = {"gone", "end-of-stream"}  # FFmpeg tells a reset as an end


TORN = {*BROKEN, "unreadable"}  # the picture that was under way
