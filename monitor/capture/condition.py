"""What state a camera is in, and since when nobody has been looking."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from monitor.capture.outage import Outage
from monitor.capture.rate import RateWatch
from monitor.records import CameraChange, Gap, State


class Condition:
    """A camera's state and outages. Each change is reported once; after `end`, nothing.

    `expected` is the rate, in pictures a second, that the camera should keep; `up` has the cause `slow` or
    `fast` where it does not.
    """

    def __init__(
        self, camera: str, report: Callable[[Gap | CameraChange], None], expected: float | None = None
    ) -> None:
        self._camera = camera
        self._report = report
        self._outage = Outage(camera)
        self._rate = None if expected is None else RateWatch(expected)
        self._state: State | None = None
        self._cause: str | None = None
        self._latest = datetime.now(UTC)  # until when all is accounted for
        self._lock = threading.RLock()

    @property
    def state(self) -> State | None:
        """The present state; None before the start."""
        return self._state

    def start(self, dark: tuple[str, datetime] | None = None) -> None:
        """The camera begins to be read; nobody has been looking since `dark`, a cause and a time."""
        with self._lock:
            self._latest = datetime.now(UTC)
            if dark is not None:
                self._outage.begin(*dark)
            self._change("starting")

    def fail(self, cause: str, detail: str, state: Literal["down", "stalled"] = "down") -> None:
        """No picture comes any more; since the latest one, or, where a failure follows another, since now."""
        with self._lock:
            if self._state == "ended":
                return
            since = datetime.now(UTC) if self._state in ("down", "stalled") else self._latest
            self._tell(self._outage.begin(cause, since, detail))
            self._change(state, cause, detail)

    def arrived(self, at: datetime, monotonic: float) -> None:
        """A picture that can be looked at was taken."""
        with self._lock:
            self.counted(at)
            if self._state != "up":
                if self._rate is not None:
                    self._rate.restart()
                self._change("up")
            if self._rate is not None and (seen := self._rate.see(monotonic)) is not None:
                kept, rate = seen
                self._change("up", kept, None if kept is None else f"{rate:.3g} pictures a second")

    def counted(self, at: datetime) -> None:
        """A picture was taken and is accounted for, whatever it shows: an outage is over with it."""
        with self._lock:
            self._tell(self._outage.end(at))
            self._latest = at

    def froze(self, at: datetime, detail: str | None) -> None:
        """A picture was taken, the same as many before it."""
        with self._lock:
            self.counted(at)
            self._change("frozen", "frozen", detail)

    def end(self) -> bool:
        """Nothing more will come; False if that was said already."""
        with self._lock:
            if self._state == "ended":
                return False
            self._tell(self._outage.end(datetime.now(UTC)))
            self._change("ended")
            return True

    def _tell(self, gap: Gap | None) -> None:
        if gap is not None:
            self._report(gap)

    def _change(self, state: State, cause: str | None = None, detail: str | None = None) -> None:
        if self._state == "ended" or (self._state, self._cause) == (state, cause):
            return
        self._state, self._cause = state, cause
        self._report(CameraChange(self._camera, state, datetime.now(UTC), cause, detail))
