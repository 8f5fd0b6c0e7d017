"""Whose turn it is at the device: verdicts go first, explanations in between."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from statistics import median

_JUST = 0.001
"""Seconds that make no difference to a verdict."""


_SLACK = 0.25
"""Share of the time between two frames, less a verdict's, by which a step may keep a frame waiting: its
verdict still comes before the frame after it."""


_GAPS = 3
"""Frames after which a step for which there is never room is let in: those held up have caught up by then."""


ArrivalForecast = Callable[[float], tuple[float, float]]
"""Of a moment (seconds of the gate's clock): seconds to the next frame, and from one frame to the next."""


class DeviceScheduler:
    """Lets one piece of work at a time onto the device, so that none slows down another halfway.

    `first` is for verdicts: they wait for what runs and for nothing else. `after` is for short steps of
    explanations: they wait until no verdict does, and, as long as the last step took, none is `expected` to
    for more than a little. Where there is never room, a step is let in once it has waited so long that
    explanations take `share` (above 0, to 1) of the time, and a few frames have passed: a step that takes c
    seconds waits c (1/share - 1). One thread at a time may use each.
    """

    def __init__(
        self,
        explanation_share: float = 1.0,
        expected: ArrivalForecast = lambda _: (math.inf, 0.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = 1 / explanation_share - 1
        self._expected = expected
        self._clock = clock
        self._changed = threading.Condition()
        self._busy = False
        self._verdicts = 0  # that wait
        self._overdue = False
        self._last_step = 0.0
        self._last_verdict = 0.0
        self._freed_at = -math.inf

    def set_explanation_share(self, share: float) -> None:
        """Give explanations this fraction of the time, above 0 to 1, from their next step on."""
        self._patience = 1 / share - 1

    @contextmanager
    def verdict_slot(self) -> Iterator[None]:
        """The device for a verdict."""
        with self._changed:
            self._verdicts += 1
            try:
                self._changed.wait_for(lambda: not self._busy and not self._overdue)
                self._busy = True
            finally:
                self._verdicts -= 1
        began = self._clock()
        try:
            yield
        finally:
            self._last_verdict = self._clock() - began
            self._free()

    @contextmanager
    def explanation_slot(self) -> Iterator[None]:
        """The device for a step of an explanation."""
        with self._changed:
            if not self._wait_for_idle():
                self._overdue = True
                try:
                    self._changed.wait_for(lambda: not self._busy)
                finally:
                    self._overdue = False
            self._busy = True
        began = self._clock()
        try:
            yield
        finally:
            self._last_step = self._clock() - began
            self._free()

    def _wait_for_idle(self) -> bool:
        """Wait for the best moment for a step; False if there was none for too long."""
        asked = self._clock()
        while True:
            now = self._clock()
            within, gap = self._expected(now)
            room = within + _SLACK * max(0.0, gap - self._last_verdict)
            patience = asked + max(self._last_step * self._patience, _GAPS * gap)
            free = not self._busy and not self._verdicts
            # Where there is never room, a step is least in the way of the next verdict right after one.
            if free and (self._last_step <= room or (now >= patience and now < self._freed_at + _JUST)):
                return True
            if now >= patience + gap:
                return False
            # Nobody tells that a frame is late, or that the one that waited is through.
            look_again = max(within, _JUST) if free else math.inf
            self._changed.wait(min(patience + gap - now, look_again))

    def _free(self) -> None:
        with self._changed:
            self._busy = False
            self._freed_at = self._clock()
            self._changed.notify_all()


_LAST = 9
"""Arrivals of a camera that are remembered: one that came late or early does not change their median gap."""


_SILENT = 3
"""Gaps without a frame after which a camera says nothing of what is to come."""


_LATE = 1 / 8
"""Share of its gap after which a frame that has not come is taken for missed."""


class ArrivalPredictor:
    """Learns the period of the frames of each camera. Times are seconds of one clock, given by the caller."""

    def __init__(self) -> None:
        self._idle = True
        self._came: dict[str, deque[float]] = {}
        self._lock = threading.Lock()  # cameras tell from threads of their own

    def record_arrival(self, camera: str, at: float) -> None:
        """A frame of `camera` came."""
        with self._lock:
            self._came.setdefault(camera, deque(maxlen=_LAST)).append(at)

    def set_idle(self, is_idle: bool) -> None:
        """Record whether every frame that came has its verdict."""
        self._idle = is_idle

    def forecast(self, now: float) -> tuple[float, float]:
        """Seconds from `now` to the next frame of any camera, and from one frame to the next in the mean.

        The first is minus infinity where one waits, a little below zero for one that is late, and infinite if
        none is due; then the second is zero.
        """
        with self._lock:
            rhythms = {camera: _period(times, now) for camera, times in self._came.items() if len(times) > 1}
            for camera in [camera for camera, rhythm in rhythms.items() if rhythm is None]:
                del self._came[camera]  # it is away, or was removed
        known = [rhythm for rhythm in rhythms.values() if rhythm is not None]
        gap = 1 / sum(1 / gap for _, gap in known) if known else 0.0
        if not self._idle:
            return float("-inf"), gap
        return min((due - now for due, _ in known), default=float("inf")), gap


def _period(times: deque[float], now: float) -> tuple[float, float] | None:
    """When the next of these is due, and how far apart they are; None when they have ceased to come."""
    gap = max(median(later - earlier for earlier, later in pairwise(times)), 1e-3)
    ahead = max(1, int((now - times[-1]) / gap - _LATE) + 1)
    return None if ahead > _SILENT else (times[-1] + ahead * gap, gap)
