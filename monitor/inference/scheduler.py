"""Scheduling of the device: verdicts have priority, explanations run in between."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from statistics import median

_NEGLIGIBLE = 0.001
"""Seconds that make no difference to a verdict."""


_SLACK = 0.25
"""Fraction of the time between two frames, less a verdict's, by which a step may delay a frame: its verdict
still comes before the next frame."""


_MIN_FRAMES = 3
"""Frames that pass before a step runs that fits between no two: delayed ones have caught up by then."""


ArrivalForecast = Callable[[float], tuple[float, float]]
"""From a time (seconds of the scheduler's clock) to seconds until the next frame, and from frame to frame."""


class DeviceScheduler:
    """Lets one piece of work at a time onto the device, so that none slows down another.

    `verdict_slot` waits for what runs and for nothing else. `explanation_slot` is for short steps: it waits
    until no verdict is waiting, and until none is `expected` for about as long as the last step took. A step
    for which there is never room runs once it has waited for so long that explanations take
    `explanation_share` (above 0, to 1) of the time, and a few frames have passed: a step of c seconds waits
    c (1 / share - 1). One thread at a time may use each slot.
    """

    def __init__(
        self,
        explanation_share: float = 1.0,
        expected: ArrivalForecast = lambda _: (math.inf, 0.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wait_factor = 1 / explanation_share - 1
        self._expected = expected
        self._clock = clock
        self._changed = threading.Condition()
        self._busy = False
        self._verdicts = 0  # waiting for the device
        self._overdue = False
        self._last_step = 0.0
        self._last_verdict = 0.0
        self._freed_at = -math.inf

    def set_explanation_share(self, share: float) -> None:
        """Give explanations this fraction of the time, above 0 to 1, from their next step on."""
        self._wait_factor = 1 / share - 1

    @contextmanager
    def verdict_slot(self) -> Iterator[None]:
        """Hold the device for a verdict."""
        with self._changed:
            self._verdicts += 1
            try:
                self._changed.wait_for(lambda: not self._busy and not self._overdue)
                self._busy = True
            finally:
                self._verdicts -= 1
        started_at = self._clock()
        try:
            yield
        finally:
            self._last_verdict = self._clock() - started_at
            self._free()

    @contextmanager
    def explanation_slot(self) -> Iterator[None]:
        """Hold the device for a step of an explanation."""
        with self._changed:
            if not self._wait_for_idle():
                self._overdue = True
                try:
                    self._changed.wait_for(lambda: not self._busy)
                finally:
                    self._overdue = False
            self._busy = True
        started_at = self._clock()
        try:
            yield
        finally:
            self._last_step = self._clock() - started_at
            self._free()

    def _wait_for_idle(self) -> bool:
        """Wait for the best time for a step; False if there was none for too long."""
        requested_at = self._clock()
        while True:
            now = self._clock()
            within, gap = self._expected(now)
            room = within + _SLACK * max(0.0, gap - self._last_verdict)
            deadline = requested_at + max(self._last_step * self._wait_factor, _MIN_FRAMES * gap)
            free = not self._busy and not self._verdicts
            # Where there is never room, a step delays the next verdict least right after one.
            if free and (self._last_step <= room or (now >= deadline and now < self._freed_at + _NEGLIGIBLE)):
                return True
            if now >= deadline + gap:
                return False
            # Nothing notifies that a frame is late, or that one has been classified.
            recheck_after = max(within, _NEGLIGIBLE) if free else math.inf
            self._changed.wait(min(deadline + gap - now, recheck_after))

    def _free(self) -> None:
        with self._changed:
            self._busy = False
            self._freed_at = self._clock()
            self._changed.notify_all()


_STORED_ARRIVALS = 9
"""Arrivals of a camera that are stored: a late or early one does not change their median gap."""


_SILENT = 3
"""Gaps without a frame after which nothing is predicted for a camera."""


_LATE = 1 / 8
"""Fraction of its gap after which a frame that has not come counts as missed."""


class ArrivalPredictor:
    """Learns the period of the frames of each camera. Times are seconds of one clock, handed in."""

    def __init__(self) -> None:
        self._idle = True
        self._came: dict[str, deque[float]] = {}
        self._lock = threading.Lock()  # cameras report from their own threads

    def record_arrival(self, camera: str, at: float) -> None:
        """Record that a frame of `camera` arrived."""
        with self._lock:
            self._came.setdefault(camera, deque(maxlen=_STORED_ARRIVALS)).append(at)

    def set_idle(self, is_idle: bool) -> None:
        """Record whether every frame that came has its verdict."""
        self._idle = is_idle

    def forecast(self, now: float) -> tuple[float, float]:
        """Predict seconds from `now` to the next frame of any camera, and from frame to frame on average.

        The first is minus infinity where one waits, a little below zero for one that is late, and infinite if
        none is due; then the second is zero.
        """
        with self._lock:
            rhythms = {camera: _period(times, now) for camera, times in self._came.items() if len(times) > 1}
            for camera in [camera for camera, rhythm in rhythms.items() if rhythm is None]:
                del self._came[camera]  # it is down, or was removed
        known = [rhythm for rhythm in rhythms.values() if rhythm is not None]
        gap = 1 / sum(1 / gap for _, gap in known) if known else 0.0
        if not self._idle:
            return float("-inf"), gap
        return min((due - now for due, _ in known), default=float("inf")), gap


def _period(times: deque[float], now: float) -> tuple[float, float] | None:
    """Return when the next arrival is due and the time between two; None when they have ceased."""
    gap = max(median(later - earlier for earlier, later in pairwise(times)), 1e-3)
    ahead = max(1, int((now - times[-1]) / gap - _LATE) + 1)
    return None if ahead > _SILENT else (times[-1] + ahead * gap, gap)
