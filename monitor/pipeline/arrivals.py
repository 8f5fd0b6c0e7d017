"""When the next frame is to be expected. Pure: the times come in."""

import threading
from collections import deque
from statistics import median

_LAST = 9
"""Arrivals of a camera that are remembered: one that came late or early does not change their median gap."""
_SILENT = 3
"""Gaps without a frame after which a camera says nothing of what is to come."""
TOLERATED = 1 / 8
"""Share of a camera's gap by which its next frame may be kept waiting."""


class Arrivals:
    """Learns at what rhythm the frames of each camera come. Times are seconds of one clock, handed in."""

    def __init__(self) -> None:
        self._came: dict[str, deque[float]] = {}
        self._lock = threading.Lock()  # cameras tell from threads of their own

    def came(self, camera: str, at: float) -> None:
        """A frame of `camera` came."""
        with self._lock:
            self._came.setdefault(camera, deque(maxlen=_LAST)).append(at)

    def room(self, now: float) -> float:
        """Seconds from `now` that may be used before a frame is in want of the device; infinite if none is due.

        That is until the next frame of any camera and `TOLERATED` of its gap. One that does not come by then
        is taken for missed, and the one after it is expected.
        """
        with self._lock:
            dues = {camera: _due(times, now) for camera, times in self._came.items()}
            for camera in [camera for camera, due in dues.items() if due is None]:
                del self._came[camera]  # it is away, or was removed
        return min((due - now for due in dues.values() if due is not None), default=float("inf"))


def _due(times: deque[float], now: float) -> float | None:
    """Until when the device should be free for the next of these; None when they have ceased to come."""
    last = times[-1]
    if len(times) < 3:  # one gap is no rhythm
        return float("inf")
    gaps = [later - earlier for earlier, later in zip(times, list(times)[1:], strict=False)]
    gap = max(median(gaps), 1e-3)
    ahead = max(1, int((now - last) / gap - TOLERATED) + 1)
    return None if ahead > _SILENT else last + (ahead + TOLERATED) * gap
