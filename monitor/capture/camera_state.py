"""The state of a camera, and since when it is not observed."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from monitor.capture.gaps import OutageTracker
from monitor.records import CameraState, CameraStateChange, Gap


class CameraStateMachine:
    """A camera's state and outages. Each change is reported once; after `mark_ended`, nothing.

    `expected` is the rate, in frames per second, that the camera should keep; `up` has the cause `slow` or
    `fast` where it does not.
    """

    def __init__(
        self, camera: str, report: Callable[[Gap | CameraStateChange], None], expected: float | None = None
    ) -> None:
        self._camera = camera
        self._report = report
        self._outage = OutageTracker(camera)
        self._rate = None if expected is None else FrameRateMonitor(expected)
        self._state: CameraState | None = None
        self._cause: str | None = None
        self._accounted_until = datetime.now(UTC)  # until when all is accounted for
        self._lock = threading.RLock()

    @property
    def state(self) -> CameraState | None:
        """The current state; None before the start."""
        return self._state

    def start(self, dark: tuple[str, datetime] | None = None) -> None:
        """Start to read; the camera was not observed since `dark`, a cause and a time."""
        with self._lock:
            self._accounted_until = datetime.now(UTC)
            if dark is not None:
                self._outage.open(*dark)
            self._change("starting")

    def mark_failed(self, cause: str, detail: str, state: Literal["down", "stalled"] = "down") -> None:
        """Record that no frame comes any more: since the latest one, or since now after another failure."""
        with self._lock:
            if self._state == "ended":
                return
            since = datetime.now(UTC) if self._state in ("down", "stalled") else self._accounted_until
            self._emit(self._outage.open(cause, since, detail))
            self._change(state, cause, detail)

    def source_idle(self, at: datetime) -> None:
        """The source is observed and has no new frame: a watched folder without a new file."""
        with self._lock:
            self.frame_accounted(at)
            self._change("up")

    def frame_arrived(self, at: datetime, monotonic: float) -> None:
        """Record a frame of a camera that works."""
        with self._lock:
            self.frame_accounted(at)
            if self._state != "up":
                if self._rate is not None:
                    self._rate.reset()
                self._change("up")
            if self._rate is not None and (seen := self._rate.observe(monotonic)) is not None:
                kept, rate = seen
                self._change("up", kept, None if kept is None else f"{rate:.3g} frames per second")

    def frame_accounted(self, at: datetime) -> None:
        """Record that a frame is accounted for, whatever it shows. It ends an outage."""
        with self._lock:
            self._emit(self._outage.close(at))
            self._accounted_until = at

    def frame_refused(
        self, at: datetime, state: Literal["frozen", "misconfigured"], detail: str | None
    ) -> None:
        """Record a frame that shows that the camera does not do its work."""
        with self._lock:
            self.frame_accounted(at)
            self._change(state, state, detail)

    def mark_ended(self) -> bool:
        """Record that no more frames will come; return False if that was recorded before."""
        with self._lock:
            if self._state == "ended":
                return False
            self._emit(self._outage.close(datetime.now(UTC)))
            self._change("ended")
            return True

    def _emit(self, gap: Gap | None) -> None:
        if gap is not None:
            self._report(gap)

    def _change(self, state: CameraState, cause: str | None = None, detail: str | None = None) -> None:
        if self._state == "ended" or (self._state, self._cause) == (state, cause):
            return
        self._state, self._cause = state, cause
        self._report(CameraStateChange(self._camera, state, datetime.now(UTC), cause, detail))


TOLERANCE = 0.3
"""Share by which a rate may differ from the expected one before it is reported."""


class FrameRateMonitor:
    """Counts frames over windows of at least 5 s and 10 expected frames."""

    def __init__(self, expected: float) -> None:
        self._expected = expected
        self._window = max(5.0, 10 / expected)
        self._since: float | None = None
        self._count = 0

    def reset(self) -> None:
        """Begin a new window with the next frame, after an outage."""
        self._since = None

    def observe(self, monotonic: float) -> tuple[Literal["slow", "fast"] | None, float] | None:
        """Record a frame; return `slow`, `fast` or None, and the rate, at the end of a window."""
        if self._since is None:
            self._since, self._count = monotonic, 0
            return None
        self._count += 1
        lasted = monotonic - self._since
        if lasted < self._window:
            return None
        rate = self._count / lasted
        self._since, self._count = monotonic, 0
        if rate < self._expected * (1 - TOLERANCE):
            return "slow", rate
        if rate > self._expected * (1 + TOLERANCE):
            return "fast", rate
        return None, rate
