"""The frame period of a camera, learnt from the capture times of its frames."""

from collections import deque
from statistics import median

_WINDOW = 15
"""Periods of which the median is taken: a frame that came late or early does not change it."""


_MIN_PERIODS = 3
"""Periods from which the median counts."""


class NominalPeriod:
    """Learn the frame period of one camera. Times are seconds of one clock.

    `seconds` is the period, None while it is not known.
    """

    def __init__(self) -> None:
        self._periods: deque[float] = deque(maxlen=_WINDOW)
        self._last: tuple[int, float] | None = None
        self.seconds: float | None = None

    def observe(self, number: int, captured: float) -> None:
        """Enter a frame. Frames that were dropped in between do not count as a longer period."""
        if self._last is not None and number > self._last[0]:
            self._periods.append((captured - self._last[1]) / (number - self._last[0]))
        self._last = number, captured
        if len(self._periods) >= _MIN_PERIODS:
            self.seconds = median(self._periods)
