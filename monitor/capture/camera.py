"""Read one camera: number the frames that its capture process delivers, and account for each."""

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from monitor.capture.backoff import reconnect_delays
from monitor.capture.camera_state import CameraStateMachine
from monitor.capture.frame_period import MIN_PERIODS, FramePeriod
from monitor.capture.frame_queue import FrameQueue
from monitor.capture.gaps import GapAggregator
from monitor.capture.messages import (
    FrameLost,
    FrameReady,
    SourceFailed,
    SourceIdle,
    SourceOpened,
    WorkerMessage,
)
from monitor.capture.shared_memory import SharedBufferReader
from monitor.capture.slot_images import frame_in_slot, image_in_slot, utc_time
from monitor.capture.supervisor import ProcessSupervisor, WorkerProcess
from monitor.capture.viewer import FrameViewer, NoViewer
from monitor.records import CameraStateChange, Frame, Gap, Image

_WITH_IMAGE = ("unusable", "misconfigured", "frozen")
"""Causes of frames whose pixels the capture process has, and sends on request."""


class Camera:
    """Read one source, in a process that is replaced when it fails, until it ends or `stop` is called.

    `launch` starts that process on the other end of a connection, which it then owns (see `capture.worker`).
    Frames are numbered across replacements. Each number is either taken by the consumer or in exactly one
    Gap: `overload` if dropped for newer frames, `late` if queued for more than `max_age` seconds, `stopping`
    if no time was left to inspect it, `unreadable`, `damaged`, `unusable` or `frozen` if it could not be
    inspected, `lost-upstream` if it never arrived (an estimate). Gaps without frames report the time in which
    none arrived. Their cause is the failure, `crashed` for a dead process, or `stalled` after more than
    `stall_timeout` seconds and three frame periods without a frame (0: never).

    With `keep_every_frame` the source waits for free space; otherwise frames are dropped that cannot be
    classified in time, most of them by the capture process, and the oldest of more than `buffer` queued ones.
    `max_age` None: four frame periods, or no limit with `keep_every_frame`. A `finite` source is not read
    again when its process dies: it would repeat frames. Opening may take `startup_timeout` seconds.
    `expected_fps` is the expected rate in frames per second.

    `report` receives Gaps and state changes, `on_frame_read` the seconds that reading took; `on_frame` is
    called after each frame and at the end. They are called without a lock held and must not block. `viewer`
    is shown each frame, also those that are not inspected.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[socket.socket], WorkerProcess],
        *,
        keep_every_frame: bool,
        report: Callable[[Gap | CameraStateChange], None],
        on_frame: Callable[[], None] = lambda: None,
        on_frame_read: Callable[[float], None] = lambda _: None,
        viewer: FrameViewer = NoViewer(),  # noqa: B008 (it has no state)
        buffer: int = 8,
        stall_timeout: float = 3.0,
        startup_timeout: float = 15.0,
        max_age: float | None = None,
        expected_fps: float | None = None,
        finite: bool = False,
        delays: Callable[[], Iterator[float]] = reconnect_delays,
    ) -> None:
        self.name = name
        self._every = keep_every_frame
        self._report = report
        self._on_frame = on_frame
        self._on_frame_read = on_frame_read
        self._viewer = viewer
        self._stall_timeout = stall_timeout
        self._startup_timeout = startup_timeout
        self._finite = finite
        self._period = FramePeriod()
        self._interval: float | None = None
        self._opened = False
        self._stopped = False
        self._queue = FrameQueue(buffer, self._period, max_age, keep_all=keep_every_frame)
        self._gaps = GapAggregator(name)
        self._captured = 0
        self._lock = threading.Lock()  # guards the four attributes above
        self._state_machine = CameraStateMachine(name, report, expected_fps)
        self._supervisor = ProcessSupervisor(name, launch, self, self._finish, delays)

    @property
    def next_frame_number(self) -> int:
        """The number of the next frame: frames so far, lost ones included."""
        with self._lock:
            return self._captured

    @property
    def queued(self) -> int:
        """Number of frames in the queue."""
        return len(self._queue)

    @property
    def ended(self) -> bool:
        """Whether no further frame can be taken."""
        return self._state_machine.state == "ended" and not self._queue

    @property
    def pid(self) -> int | None:
        """The process id of the capture process, None while none runs."""
        return self._supervisor.pid

    @property
    def progressed_at(self) -> float:
        """Time of the supervision's last heartbeat, on the monotonic clock in seconds."""
        return self._supervisor.progressed_at

    def start(self, first_number: int = 0, unobserved_since: tuple[str, datetime] | None = None) -> None:
        """Start reading; the first frame gets `first_number`. Call this once.

        `unobserved_since`: why and since when the camera was not observed, if known.
        """
        self._captured = first_number
        self._state_machine.start(unobserved_since)
        self._supervisor.start()

    @property
    def source_waits(self) -> bool:
        """Whether the source waits while frames are queued, so that none is lost."""
        return self._every

    def take(self, limit: int) -> list[Frame]:
        """Return up to `limit` queued frames, oldest first, at once; also after `stop`."""
        now = time.monotonic()
        with self._lock:
            taken, late = self._queue.take(limit, now)
            for frame in late:
                self._gaps.record_frame("late", frame, now)
            gaps = self._gaps.pop_all() if self._state_machine.state == "ended" else []
        self._report_all(gaps)
        return taken

    def stop(self, timeout: float) -> bool:
        """Stop reading within about `timeout` seconds; return whether the process ended by itself.

        A process that hangs is killed. Frames that it delivers from now on are not counted.
        """
        with self._lock:
            self._stopped = True
        ended_by_itself = self._supervisor.stop(timeout)
        self._finish()
        return ended_by_itself

    def drop_queued(self) -> None:
        """Report the queued frames as lost to `stopping`; after `stop`."""
        now = time.monotonic()
        with self._lock:
            for frame in self._queue.drain():
                self._gaps.record_frame("stopping", frame, now)
        self._report_all(self._flush_gaps())

    def on_message(self, message: WorkerMessage, ring: SharedBufferReader | None) -> None:
        """Handle a message of the capture process."""
        match message:
            case FrameReady():
                self._on_frame_read(message.took)
                self._enqueue(message, ring)
            case FrameLost():
                self._on_frame_read(message.took)
                self._show_lost(message, image_in_slot(message, ring))
                self._record_lost(message)
            case SourceOpened():
                self._interval, self._finite = message.interval, not message.live
                self._opened = True
                self._period.restart()
                if self._stall_timeout == 0:  # a triggered camera: no frame is missing before a trigger
                    self._state_machine.frame_arrived(datetime.now(UTC), time.monotonic())
            case SourceIdle():
                self._state_machine.source_idle(datetime.now(UTC))
            case SourceFailed():
                self._opened = False
                self._fail(message.cause, message.detail)
                self._report_all(self._flush_gaps())

    def on_silence(self, seconds: float, ring: SharedBufferReader | None) -> Literal["healthy", "hung"]:
        """Return whether a process is hung that sent nothing for `seconds` although frames are due."""
        with self._lock:
            due = self._gaps.pop_due(time.monotonic())
        self._report_all(due)
        is_delivering = self._state_machine.state in ("up", "frozen", "misconfigured")
        max_silence = self._max_silence() if is_delivering else self._startup_timeout
        if seconds <= max_silence or (ring is not None and ring.slots_in_use >= ring.slots):
            return "healthy"
        may_reopen = not (self._finite and self._opened)  # its frames would be inspected twice
        if is_delivering or not may_reopen:
            self._fail("stalled", f"no frame arrived for {seconds:g} s", "stalled")
        else:
            self._fail("timeout", "opening the source took too long")
        if may_reopen:
            self._period.silence_ended(seconds)
        return "hung" if may_reopen else "healthy"

    def _max_silence(self) -> float:
        if self._stall_timeout == 0:
            return math.inf
        if self._interval is not None:
            return max(self._stall_timeout, MIN_PERIODS * self._interval)
        return self._period.max_silence(self._stall_timeout, self._startup_timeout)

    def on_exit(self, cause: str, detail: str) -> bool:
        """Record that the process ended without a message; return whether to start another."""
        self._opened = False
        self._fail(cause, detail)
        self._report_all(self._flush_gaps())
        return not self._finite

    def _enqueue(self, message: FrameReady, ring: SharedBufferReader | None) -> None:
        if ring is None:
            raise ValueError("a frame arrived before its shared memory")
        with self._lock:
            if self._stopped:
                return
            frame = frame_in_slot(message, ring, self.name, self._captured, source_waits=self._every)
            self._captured += 1
            self._queue.put(frame, partial(ring.announce_taken, message.slot))
            while (lost := self._queue.pop_excess(is_full=ring.slots_in_use >= ring.slots)) is not None:
                self._gaps.record_frame("overload", lost, message.monotonic)
                del lost  # frees its slot
            gaps = self._gaps.pop_due(message.monotonic)
        self._period.frame_arrived(time.monotonic())
        self._state_machine.frame_arrived(frame.captured_at, message.monotonic)
        self._report_all(gaps)
        self._on_frame()
        self._viewer.show(self.name, frame.number, frame.captured_at, frame.image)

    def _show_lost(self, message: FrameLost, image: Image | None) -> None:
        """Show a frame that is not inspected, or request the next one if it came without its pixels."""
        if image is not None:
            self._viewer.show(self.name, self.next_frame_number, utc_time(message.captured_us), image)
        elif message.cause in _WITH_IMAGE and self._viewer.wants(self.name):
            self._supervisor.request_image()

    def _record_lost(self, message: FrameLost) -> None:
        at = utc_time(message.captured_us)
        started_at = at if message.since_us is None else utc_time(message.since_us)
        with self._lock:
            if self._stopped:
                return
            self._gaps.record_lost(
                message.cause,
                self._captured,
                started_at,
                message.monotonic,
                frames=message.frames,
                detail=message.why,
                until=at,
                name=message.source_name,
            )
            self._captured += message.frames
            gaps = self._gaps.pop_due(message.monotonic)
        if message.cause != "lost-upstream":
            self._period.frame_arrived(time.monotonic())
        match message.cause:
            case "frozen" | "misconfigured":
                self._state_machine.frame_refused(at, message.cause, message.why)
            case "lost-upstream":  # detected when a later frame arrived
                self._state_machine.frame_accounted(at)
            case _:  # the camera delivers, whatever its frames show
                self._state_machine.frame_arrived(at, message.monotonic)
        self._report_all(gaps)

    def _fail(self, cause: str, detail: str, state: Literal["down", "stalled"] = "down") -> None:
        if not self._stopped:
            self._state_machine.mark_failed(cause, detail, state)

    def _finish(self) -> None:
        self._report_all(self._flush_gaps())
        if self._state_machine.mark_ended():
            self._on_frame()

    def _flush_gaps(self) -> list[Gap]:
        with self._lock:
            return self._gaps.pop_all()

    def _report_all(self, gaps: list[Gap]) -> None:
        for gap in gaps:
            self._report(gap)
