"""When a frame was captured, from the source's clock and from when the frame arrived. Pure.

A camera stamps a frame when it is captured; the network delays it, sometimes more, sometimes less. How far
apart the two clocks are is unknown, but a frame cannot arrive before it was captured. The least difference
seen is that of the frame that was delayed least, and what another frame has more is its delay.

That holds for a real clock only. Some cameras count frames at a nominal rate, so their stamps run away from
real time. Arrivals show it: a frame that the reader had to wait for did not lie in a buffer, so a difference
that grows while the reader waits comes from the camera's clock and is no delay. Where clock and arrivals
disagree, the frame's time is the time of its arrival, and is marked so.
"""

import statistics
from collections import deque
from typing import NamedTuple

from monitor.capture.sources.base import FrameStamp
from monitor.records import CaptureClock

MIN_PROBATION = 2.0
"""Seconds in which a clock must agree with the arrivals before its stamps count."""


MAX_PROBATION = 60.0


_HALF = 3  # frames that the reader waited for, in each half of a probation


_CONTRADICTIONS = 3  # frames in a row that end the trust in a clock; one may have been delayed by the network


class CaptureEstimate(NamedTuple):
    """When a frame was captured, on the monotonic clock, and by which clock."""

    at: float
    by: CaptureClock


class _Probation:
    """Compares clock and arrivals over a time: the least differences of its two halves must be equal."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._started_at: float | None = None
        self._lows = [float("inf"), float("inf")]
        self._counts = [0, 0]

    def observe(self, arrived: float, offset: float, tolerance: float) -> bool | None:
        """Record a frame that the reader waited for; whether the clock agrees, None while it is not known."""
        if self._started_at is None:
            self._started_at = arrived
        half = int(arrived - self._started_at >= self.seconds / 2 and self._counts[0] >= _HALF)
        self._lows[half] = min(self._lows[half], offset)
        self._counts[half] += 1
        if arrived - self._started_at < self.seconds or self._counts[1] < _HALF:
            return None
        return abs(self._lows[1] - self._lows[0]) <= tolerance / 2


class CaptureTimestamper:
    """Estimates times of capture; one for each time a source is opened. All times are in seconds.

    A time by the clock `camera` is right within one frame period, but for the delay of the frame that was
    delayed least within the last `window` seconds. With a clock that camera and machine share, that delay is
    known, too. A delay above `max_delay` is not believed.
    """

    def __init__(self, window: float = 10.0, max_delay: float = 10.0) -> None:
        self._window = window
        self._max_delay = max_delay
        self._steps: deque[float] = deque(maxlen=15)  # between arrivals
        self._arrived: float | None = None
        self._last = float("-inf")
        self._is_shared = False
        self._clock = float("-inf")
        self._contradictions = 0
        self._offsets: deque[tuple[float, float]] = deque()  # (arrival, offset), offsets rising
        self._probation_seconds = MIN_PROBATION
        self._probation: _Probation | None = _Probation(MIN_PROBATION)

    def timestamp(self, stamp: FrameStamp | None, arrival: float) -> CaptureEstimate:
        """Return when a frame was captured that was read at `arrival`.

        Arrivals must not go back. Neither do the results, and none is later than its arrival.
        """
        if stamp is None:
            return self._answer(arrival, None, 0.0)
        arrived = min(max(stamp.arrived, self._arrived or stamp.arrived), arrival)
        step = 0.0 if self._arrived is None else arrived - self._arrived
        if self._arrived is not None:
            self._steps.append(step)
        self._arrived = arrived
        clock = stamp.source_time if stamp.capture_time is None else stamp.capture_time
        if clock is None:
            return self._answer(arrived, None, 0.0)
        is_shared = stamp.capture_time is not None
        if is_shared != self._is_shared or clock < self._clock:
            self._restart(MIN_PROBATION if is_shared != self._is_shared else self._probation_seconds)
        self._is_shared, self._clock = is_shared, clock
        period = max(0.01, statistics.median(self._steps)) if self._steps else 0.0
        delay = self._delay(arrived - clock, arrived, step, stamp.waited >= period / 10, period)
        return self._answer(arrived, delay, period)

    def _answer(self, arrived: float, delay: float | None, period: float) -> CaptureEstimate:
        if delay is None:
            self._last = max(self._last, arrived)
            return CaptureEstimate(self._last, "arrival")
        # Times do not go back: after times of arrival, those of the camera must catch up first.
        is_known = self._last - (arrived - delay) <= period
        self._last = max(self._last, arrived - delay)
        return CaptureEstimate(self._last, "camera" if is_known else "arrival")

    def _delay(self, offset: float, arrived: float, step: float, waited: bool, period: float) -> float | None:
        """Return by how much a frame was delayed; None where its clock is not to be believed."""
        if self._probation is not None:
            agrees = self._probation.observe(arrived, offset, period) if waited else None
            if agrees is None:
                return None
            if not agrees:
                self._restart(min(2 * self._probation.seconds, MAX_PROBATION))
                return None
            self._probation = None
        growth = offset - min(self._offsets[0][1], offset) if self._offsets else 0.0
        if growth > self._max_delay:
            self._restart(self._probation_seconds)
            return None
        # A pause as long as the delay explains it; a frame that came as usual was not delayed.
        if waited and growth > period and growth > step - period / 2:
            self._contradictions += 1
            if self._contradictions >= _CONTRADICTIONS:
                self._restart(min(2 * self._probation_seconds, MAX_PROBATION))
            return None
        if waited:
            self._contradictions = 0
            self._remember(arrived, offset)
        floor = offset - growth
        if not self._is_shared:
            return growth
        # A clock that is ahead of this machine's, or far behind it, is not shared.
        return max(0.0, offset) if -period <= floor <= self._max_delay else growth

    def _remember(self, arrived: float, offset: float) -> None:
        # Only frames that were waited for move the window: while a backlog lasts, what is known stays.
        while self._offsets and self._offsets[0][0] < arrived - self._window:
            self._offsets.popleft()
        while self._offsets and self._offsets[-1][1] >= offset:
            self._offsets.pop()
        self._offsets.append((arrived, offset))

    def _restart(self, probation: float) -> None:
        self._probation_seconds = probation
        self._probation = _Probation(probation)
        self._offsets.clear()
        self._contradictions = 0
        self._clock = float("-inf")
