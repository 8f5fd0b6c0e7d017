"""Frames that a source captured and that never arrived, estimated from time stamps. Pure."""

from collections import deque
from dataclasses import dataclass, field
from statistics import fmean, median

_LEARN = 16
"""Intervals that must be regular before a loss can be claimed."""

_REGULAR = 0.2
"""Fraction by which a regular interval may differ from the median."""

_STEADY = 0.9
"""Fraction of the learned intervals that must be regular."""

_GAP = 1.6
"""Periods from which on an interval may hide lost frames."""

_WHOLE = 0.25
"""Periods by which a short gap may differ from a whole number of them."""

_SHORT_GAP = 8
"""Periods up to which a gap must be a whole number of them: over longer ones the rate itself drifts."""

_CONFIRM = 16
"""Regular intervals after a gap that confirm it: a damaged stream returns frames up to 16 frames late."""

_REJECT = 4
"""Irregular intervals after a gap that show that the rate has changed."""

_LATE_FRAMES = 4
"""Frames that may come out of order in a row, before stamps that went back count as a jump of the clock."""

_CLOCK_AHEAD = 0.25
"""Fraction of a gap by which a source's clock may be ahead of arrival times."""

_MAX_RECORDED_GAP = 60.0
"""Seconds above which a gap in a recording counts as a jump of its time stamps."""


@dataclass(frozen=True, slots=True)
class LostFrames:
    """An estimated number of frames lost within an interval between two frames, in seconds of arrival."""

    count: int
    since: float
    until: float
    detail: str


@dataclass(slots=True)
class _Suspicion:
    """A gap in time stamps that later frames prove or disprove."""

    count: int
    after: float
    before: float
    since: float
    until: float
    detail: str


@dataclass(slots=True)
class LostFrameEstimator:
    """Estimates from each frame's time stamp how many frames were lost before it.

    The period is learned: only a source whose intervals were regular can have lost frames, so that cameras
    with a variable rate or a trigger yield none. A gap counts once regular intervals follow it; where the
    rate changes instead, nothing was lost. A gap in time stamps that is longer than the time that passed is
    a jump of the source's clock.
    """

    _intervals: deque[float] = field(default_factory=lambda: deque(maxlen=2 * _LEARN))
    _delays: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    _latest: float | None = None
    _latest_arrival: float = 0.0
    _highest: float | None = None  # the stamp before stamps went back
    _late: int = 0
    _pending: list[_Suspicion] = field(default_factory=list)
    _regular: int = 0
    _irregular: int = 0

    def observe(self, now: float, arrival: float, *, is_live: bool) -> list[LostFrames]:
        """Take the next frame's time stamp and arrival, in seconds; return the losses that it proves.

        With `is_live` false, as for a recording, arrival times do not count.
        """
        if self._fills_gap(now):
            return []
        before, before_arrival = self._reference(now), self._latest_arrival
        self._latest, self._latest_arrival = now, arrival
        if before is None or now <= before:
            self._delays.clear()
            self._delays.append(arrival - now)
            return []
        interval = now - before
        period = self._period()
        lost = 0 if period is None else self._lost_in(interval, period, arrival - now, is_live=is_live)
        self._delays.append(arrival - now)
        if period is not None and lost > 0:
            detail = (
                f"about {lost} frames: {interval:.3g} s without a frame at {1 / period:.3g} frames per second"
            )
            self._pending.append(_Suspicion(lost, before, now, before_arrival, arrival, detail))
            return self._settle(None)
        return self._settle(interval)

    def flush(self) -> list[LostFrames]:
        """Return what nothing has disproved, at the end of the source."""
        pending, self._pending = self._pending, []
        self._regular = self._irregular = 0
        return [LostFrames(gap.count, gap.since, gap.until, gap.detail) for gap in pending]

    def _reference(self, now: float) -> float | None:
        """Return the stamp that the one at `now` follows: not that of a frame that came out of order."""
        highest, latest = self._highest, self._latest
        if highest is not None and now > highest:  # the stamps are where they left off
            self._highest = None
            return highest
        if highest is None and latest is not None and now <= latest:
            self._highest, self._late = latest, 0
        elif highest is not None:
            self._late += 1
            if self._late >= _LATE_FRAMES:
                self._highest = None
        return latest

    def _fills_gap(self, now: float) -> bool:
        """Whether a frame that comes out of order belongs into a suspected gap, which is smaller then."""
        for gap in self._pending:
            if gap.after < now <= gap.before and (self._latest or 0.0) >= now:
                gap.count -= 1
                if gap.count == 0:
                    self._pending.remove(gap)
                    self._irregular = max(0, self._irregular - 1)
                return True
        return False

    def _is_regular(self, interval: float) -> bool:
        # Time stamps may be rounded to milliseconds.
        period = median(self._intervals)
        return abs(interval - period) <= _REGULAR * period + 0.002

    def _period(self) -> float | None:
        """The learned period in seconds; None while intervals are too few or irregular."""
        if len(self._intervals) < _LEARN:
            return None
        regular = [interval for interval in self._intervals if self._is_regular(interval)]
        return fmean(regular) if len(regular) >= _STEADY * len(self._intervals) else None

    def _lost_in(self, interval: float, period: float, delay: float, *, is_live: bool) -> int:
        """How many frames an interval seems to lack."""
        periods = interval / period
        whole = round(periods)
        if periods < _GAP or (periods < _SHORT_GAP and abs(periods - whole) > _WHOLE):
            return 0
        if not is_live:
            return whole - 1 if interval <= _MAX_RECORDED_GAP else 0
        if delay < min(self._delays) - max(_CLOCK_AHEAD * interval, 2 * period):
            self._delays.clear()
            return 0
        return whole - 1

    def _settle(self, interval: float | None) -> list[LostFrames]:
        """Learn from an interval (None: one that lacks frames), which may prove or disprove a loss."""
        if not self._pending:
            self._intervals.extend([] if interval is None else [interval])
            self._regular = self._irregular = 0
            return []
        if interval is not None and interval < (1 - _REGULAR) * median(self._intervals):
            self.flush()  # a frame catches up: the ones before it were late, not lost
            return []
        if interval is None or not self._is_regular(interval):
            self._irregular += 1
            if self._irregular > _REJECT:
                self._pending.clear()
                self._intervals.clear()
            return []
        self._intervals.append(interval)
        self._irregular = 0
        self._regular += 1
        return self.flush() if self._regular >= _CONFIRM else []
