"""Learn how far apart a camera's frames are, and so how long it may be silent. Pure: the times come in."""

from collections import deque
from statistics import median

MIN_PERIODS = 3
"""Frame periods that a camera may be silent at least, whatever the settings say."""


_MAX_AGE_PERIODS, _MIN_MAX_AGE = 4, 0.1
"""Frame periods, and at least seconds, from which on a queued frame of a live camera is late by default."""


class FramePeriod:
    """Remembers the last intervals between two frames of a camera."""

    def __init__(self, window: int = 5) -> None:
        self._intervals: deque[float] = deque(maxlen=window)
        self._last: float | None = None

    @property
    def seconds(self) -> float | None:
        """The longest recent interval in seconds; None until two frames have come."""
        return max(self._intervals, default=None)

    @property
    def typical(self) -> float | None:
        """The median of the recent intervals in seconds; None until two frames have come."""
        return median(self._intervals) if self._intervals else None

    def max_age(self, wanted: float | None) -> float:
        """Return the age in seconds from which on a queued frame is late: `wanted`, or four frame periods.

        The default is at least 0.1 s, which a pass of the network may take, and unlimited while the period is
        not known.
        """
        if wanted is not None:
            return wanted
        period = self.typical
        return float("inf") if period is None else max(_MAX_AGE_PERIODS * period, _MIN_MAX_AGE)

    def frame_arrived(self, at: float) -> None:
        """Record a frame that came at `at`, in seconds of a monotonic clock."""
        if self._last is not None and at > self._last:
            self._intervals.append(at - self._last)
        self._last = at

    def silence_ended(self, seconds: float) -> None:
        """Record that no frame came for `seconds`, and that the camera is opened again.

        The period may be longer than that. Recording it gives the camera more time after the next frame, so
        that one slower than expected is not opened again for ever.
        """
        self._intervals.append(seconds)
        self._last = None

    def restart(self) -> None:
        """Forget the last frame: the time up to the next one is an outage and no period."""
        self._last = None

    def max_silence(self, wanted: float, unknown: float) -> float:
        """Return the seconds without a frame that are too long: `wanted` or three periods.

        While the period is not known, it is the longer of `wanted` and `unknown`.
        """
        period = self.seconds
        return max(wanted, unknown if period is None else MIN_PERIODS * period)
