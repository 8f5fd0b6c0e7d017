"""When a picture was taken, from the source's own clock and from when the picture arrived. Pure.

A network holds pictures up, now more, now less; the source stamps them before. How far the two clocks are
apart is not known, but a picture cannot arrive before it was taken: the least difference seen is that of the
picture that was held up least, and what another one has more of it is its delay.
"""

from collections import deque


class CaptureTimestamper:
    """Times of capture on the monotonic clock, in seconds: one for each time a source is opened.

    They are right but for the delay of the picture that was held up least within the last `window` seconds,
    short enough that the two clocks do not drift apart, long enough that one picture comes through at once.
    A delay above `longest` seconds is not believed: the source's clock was set, and all begins anew.
    """

    def __init__(self, window: float = 10.0, longest: float = 10.0) -> None:
        self._window = window
        self._longest = longest
        self._offsets: deque[tuple[float, float]] = deque()  # (arrival, difference), differences rising
        self._position = float("-inf")
        self._last = float("-inf")

    def timestamp(self, source_time: float | None, arrival: float) -> float:
        """When the picture was taken that the source stamped `position` and that came at `arrival`.

        Arrivals must not go back. Neither do the answers, and none is later than its arrival. Without a
        position it is the arrival itself.
        """
        at = arrival if source_time is None else arrival - self._delay(source_time, arrival)
        self._last = max(self._last, at)
        return self._last

    def _delay(self, position: float, arrival: float) -> float:
        if position < self._position:
            self._offsets.clear()
        self._position = position
        difference = arrival - position
        while self._offsets and self._offsets[0][0] < arrival - self._window:
            self._offsets.popleft()
        if self._offsets and difference - self._offsets[0][1] > self._longest:
            self._offsets.clear()
        while self._offsets and self._offsets[-1][1] >= difference:
            self._offsets.pop()
        self._offsets.append((arrival, difference))
        return difference - self._offsets[0][1]
