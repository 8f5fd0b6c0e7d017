"""One camera: numbers the frames that its capture process delivers, and accounts for each."""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from monitor.capture.backoff import reopening_delays
from monitor.capture.condition import Condition
from monitor.capture.gaps import GapLedger
from monitor.capture.messages import Failed, Lost, Message, Opened, Picture
from monitor.capture.ring import ReaderRing
from monitor.capture.supervisor import Process, Supervisor
from monitor.records import Box, CameraChange, Frame, Gap

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Camera:
    """Has one source read, until it ends or `stop` is called, by a process that is replaced when it fails.

    `launch` starts that process on the other end of a connection, which it takes over (see `capture.worker`).
    Frames are numbered over all replacements. Each number is either taken by the consumer or counted in
    exactly one Gap: `overload` where it gave way to newer frames, `late` where it had waited more than
    `max_age` seconds, `stopping` where no time was left to judge it, `unreadable`, `unusable` or `frozen`
    where it could not be judged. The time in which nothing came is told in Gaps without frames, whose cause
    is that of the failure, `stalled` after a silence of more than `silence` seconds (0: never), or `crashed`
    where the process died.

    With `every` the source is held back so that nothing is lost on this side; otherwise the oldest of more
    than `buffer` waiting frames gives way. A `finite` source is not read again when its process dies: from
    its start, it would repeat what was inspected. `opening` is how many seconds a process may need to find
    out whether its source can be opened. `expected` is the rate, in frames a second, that a camera should
    keep.

    `report` hears Gaps and changes of state, `on_frame` is called after each frame and at the end, `on_read`
    with the seconds that reading took. They are called from the camera's thread (by `take` and `stop`: from
    their caller's), hold no lock of the camera, and must not block.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[socket.socket], Process],
        *,
        every: bool,
        report: Callable[[Gap | CameraChange], None],
        on_frame: Callable[[], None] = lambda: None,
        on_read: Callable[[float], None] = lambda _: None,
        buffer: int = 8,
        silence: float = 3.0,
        opening: float = 15.0,
        max_age: float | None = None,
        expected: float | None = None,
        finite: bool = False,
        delays: Callable[[], Iterator[float]] = reopening_delays,
    ) -> None:
        self.name = name
        self._every = every
        self._report = report
        self._on_frame = on_frame
        self._on_read = on_read
        self._size = buffer
        self._silence = silence
        self._opening = opening
        self._max_age = max_age
        self._finite = finite
        self._interval = 0.0
        self._stopped = False
        self._waiting: deque[Frame] = deque()
        self._gaps = GapLedger(name)
        self._captured = 0
        self._changed = threading.Lock()  # guards the four above
        self._condition = Condition(name, report, expected)
        self._supervisor = Supervisor(name, launch, self, self._finish, delays)

    @property
    def captured(self) -> int:
        """The number that the next frame will have: frames so far, lost ones included."""
        with self._changed:
            return self._captured

    @property
    def waiting(self) -> int:
        """Frames that wait to be taken."""
        return len(self._waiting)

    @property
    def ended(self) -> bool:
        """Whether no further frame can be taken."""
        return self._condition.state == "ended" and not self._waiting

    @property
    def pid(self) -> int | None:
        """The capture process, if there is one."""
        return self._supervisor.pid

    @property
    def progressed_at(self) -> float:
        """When the supervision last gave a sign of life, on the monotonic clock."""
        return self._supervisor.progressed_at

    def start(self, first_number: int = 0, dark: tuple[str, datetime] | None = None) -> None:
        """Begins to read; its first frame gets `first_number`. Once only.

        `dark` tells why and since when nobody has looked at what this camera sees, if that is known.
        """
        self._captured = first_number
        self._condition.start(dark)
        self._supervisor.start()

    def take(self, limit: int) -> list[Frame]:
        """Up to `limit` waiting frames, oldest first; does not wait. Also after `stop`, for what was left."""
        taken: list[Frame] = []
        now = time.monotonic()
        with self._changed:
            while self._waiting and len(taken) < limit:
                frame = self._waiting.popleft()
                if self._max_age is not None and now - frame.monotonic > self._max_age:
                    self._gaps.add("late", frame.number, frame.captured_at, now)
                else:
                    taken.append(frame)
            late = self._gaps.flush() if self._condition.state == "ended" else []
        self._report_all(late)
        return taken

    def stop(self, timeout: float) -> bool:
        """Ends the reading within about `timeout` seconds; True if the process ended by itself.

        One that hangs is killed; what it brings from now on is no longer counted.
        """
        with self._changed:
            self._stopped = True
        by_itself = self._supervisor.stop(timeout)
        self._finish()
        return by_itself

    def abandon(self) -> None:
        """There is no time left to judge what still waits: it is told as lost to `stopping`. After `stop`."""
        now = time.monotonic()
        with self._changed:
            while self._waiting:
                frame = self._waiting.popleft()
                self._gaps.add("stopping", frame.number, frame.captured_at, now)
        self._report_all(self._flushed())

    def hear(self, message: Message, ring: ReaderRing | None) -> None:
        """Takes in what the capture process says."""
        match message:
            case Picture():
                self._on_read(message.took)
                self._enter(message, ring)
            case Lost():
                self._on_read(message.took)
                self._lose(message)
            case Opened():
                self._interval, self._finite = message.interval or 0.0, not message.live
            case Failed():
                self._fail(message.cause, message.detail)
                self._report_all(self._flushed())

    def idle(self, seconds: float, ring: ReaderRing | None) -> Literal["fine", "hangs"]:
        """The process has said nothing for `seconds`: while frames are due, that can be too long."""
        with self._changed:
            due = self._gaps.due(time.monotonic())
        self._report_all(due)
        if self._condition.state not in ("up", "frozen"):
            if seconds <= self._opening:
                return "fine"
            self._fail("timeout", "opening the source took too long")
            return "hangs"
        held_back = ring is not None and ring.lent >= ring.slots
        if self._silence == 0 or held_back or seconds <= max(self._silence, 3 * self._interval):
            return "fine"
        if not self._stopped:
            self._condition.fail("stalled", f"no picture came for {seconds:g} s", "stalled")
        # Opened anew, a finite source would be read from its start.
        return "fine" if self._finite else "hangs"

    def died(self, cause: str, detail: str) -> bool:
        """The process ended without a word; whether to start another."""
        self._fail(cause, detail)
        self._report_all(self._flushed())
        return not self._finite

    def _enter(self, message: Picture, ring: ReaderRing | None) -> None:
        if ring is None:
            raise ValueError("a picture came before the memory that it lies in")
        at = _EPOCH + timedelta(microseconds=message.at)
        memory = ring.lend(message.slot)
        height, width = message.input_size
        boxes = tuple(Box(*box) for box in message.boxes)
        inputs = memory[message.inputs_at :][: len(boxes) * height * width * 3]
        with self._changed:
            if self._stopped:
                return
            frame = Frame(
                self.name,
                self._captured,
                at,
                message.monotonic,
                memory[: message.height * message.width * 3].reshape(message.height, message.width, 3),
                boxes,
                inputs.reshape(len(boxes), height, width, 3),
            )
            self._captured += 1
            self._waiting.append(frame)
            while not self._every and len(self._waiting) > 1 and self._is_full(ring):
                lost = self._waiting.popleft()
                self._gaps.add("overload", lost.number, lost.captured_at, message.monotonic)
                del lost  # with it, its slot
            gaps = self._gaps.due(message.monotonic)
        self._condition.arrived(at, message.monotonic)
        self._report_all(gaps)
        self._on_frame()

    def _is_full(self, ring: ReaderRing) -> bool:
        """Whether the oldest frame must give way, so that the next one finds room in memory, too."""
        return len(self._waiting) > self._size or ring.lent >= ring.slots

    def _lose(self, message: Lost) -> None:
        at = _EPOCH + timedelta(microseconds=message.at)
        began = at if message.since is None else _EPOCH + timedelta(microseconds=message.since)
        with self._changed:
            if self._stopped:
                return
            self._gaps.add(
                message.cause, self._captured, began, message.monotonic, detail=message.why, until=at
            )
            self._captured += 1
            gaps = self._gaps.due(message.monotonic)
        match message.cause:
            case "frozen":
                self._condition.froze(at, message.why)
            case "unreadable":  # alone no sign that the camera is well
                self._condition.counted(at)
            case _:
                self._condition.arrived(at, message.monotonic)
        self._report_all(gaps)

    def _fail(self, cause: str, detail: str) -> None:
        if not self._stopped:
            self._condition.fail(cause, detail)

    def _finish(self) -> None:
        self._report_all(self._flushed())
        if self._condition.end():
            self._on_frame()

    def _flushed(self) -> list[Gap]:
        with self._changed:
            return self._gaps.flush()

    def _report_all(self, gaps: list[Gap]) -> None:
        for gap in gaps:
            self._report(gap)
