"""Learn how far apart a camera's frames are, and so how long it may be silent. Pure: the times come in."""

from collections import deque

MIN_PERIODS = 3
"""Frame periods that a camera may be silent at least, whatever the settings say."""


class FramePeriod:
    """Remembers the longest of the last intervals between two frames of a camera."""

    def __init__(self, window: int = 5) -> None:
        self._intervals: deque[float] = deque(maxlen=window)
        self._last: float | None = None

    @property
    def seconds(self) -> float | None:
        """The longest recent interval in seconds; None until two frames have come."""
        return max(self._intervals, default=None)

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
