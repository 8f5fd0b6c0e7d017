"""Which frames of a live camera are dropped before they are checked, resized and copied. Pure."""

from monitor.capture.frame_period import FramePeriod

_TOGETHER = 0.01
"""Seconds within which frames may be queued together, so that a GPU can classify them in one pass."""

_CALM = 2.0
"""Seconds without a dropped frame after which an overload is over."""


class AdmissionControl:
    """Admit the frames that the daemon can classify in time. Times are seconds of one clock, handed in.

    While the daemon keeps up, up to `buffer` frames may be queued. It is overloaded once a queued frame would
    be older than `max_age` at the next frame. From then on frames are not queued behind each other: a new one
    is admitted when none is queued, or when the queued one will be late. So drops are spread evenly, and a
    frame waits for one turn of the network. `max_age` None: see `FramePeriod.max_age`.
    """

    def __init__(self, buffer: int, max_age: float | None = None) -> None:
        self._buffer = buffer
        self._max_age = max_age
        self._period = FramePeriod()
        self._queued: dict[object, float] = {}
        self._overloaded_until = float("-inf")

    def admit(self, captured: float) -> bool:
        """Return whether to prepare the frame captured at `captured`; if so, `sent` follows."""
        self._period.frame_arrived(captured)
        next_frame = captured + (self._period.typical or 0.0)
        max_age = self._period.max_age(self._max_age)
        in_time = [at for at in self._queued.values() if next_frame - at <= max_age]
        is_late = len(in_time) < len(self._queued)
        admitted = len(in_time) < self._buffer
        if in_time and (is_late or captured < self._overloaded_until):
            admitted = admitted and captured - in_time[0] <= _TOGETHER
        if is_late or not admitted:
            self._overloaded_until = captured + _CALM
        return admitted

    def sent(self, key: object, captured: float) -> None:
        """Record that the daemon has queued a frame; `key` is unique among those queued."""
        self._queued[key] = captured

    def taken(self, key: object) -> None:
        """Record that the daemon has taken a frame out of its queue, or dropped it."""
        self._queued.pop(key, None)
