"""When the next frame is to be expected. Pure: the times come in."""

import threading
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from statistics import median

_LAST = 9
"""Arrivals of a camera that are remembered: one that came late or early does not change their median gap."""
_SILENT = 3
"""Gaps without a frame after which a camera says nothing of what is to come."""
_LATE = 1 / 8
"""Share of its gap after which a frame that has not come is taken for missed."""


class Arrivals:
    """Learns at what rhythm the frames of each camera come. Times are seconds of one clock, handed in.

    `waiting`, which may be set later, says whether one that came has no verdict yet.
    """

    def __init__(self) -> None:
        self.waiting: Callable[[], bool] = lambda: False
        self._came: dict[str, deque[float]] = {}
        self._lock = threading.Lock()  # cameras tell from threads of their own

    def came(self, camera: str, at: float) -> None:
        """A frame of `camera` came."""
        with self._lock:
            self._came.setdefault(camera, deque(maxlen=_LAST)).append(at)

    def expected(self, now: float) -> tuple[float, float]:
        """Seconds from `now` to the next frame of any camera, and from one frame to the next in the mean.

        The first is minus infinity where one waits, a little below zero for one that is late, and infinite if
        none is due; then the second is zero.
        """
        with self._lock:
            rhythms = {camera: _rhythm(times, now) for camera, times in self._came.items() if len(times) > 1}
            for camera in [camera for camera, rhythm in rhythms.items() if rhythm is None]:
                del self._came[camera]  # it is away, or was removed
        known = [rhythm for rhythm in rhythms.values() if rhythm is not None]
        gap = 1 / sum(1 / gap for _, gap in known) if known else 0.0
        if self.waiting():
            return float("-inf"), gap
        return min((due - now for due, _ in known), default=float("inf")), gap


def _rhythm(times: deque[float], now: float) -> tuple[float, float] | None:
    """When the next of these is due, and how far apart they are; None when they have ceased to come."""
    gap = max(median(later - earlier for earlier, later in pairwise(times)), 1e-3)
    ahead = max(1, int((now - times[-1]) / gap - _LATE) + 1)
    return None if ahead > _SILENT else (times[-1] + ahead * gap, gap)
