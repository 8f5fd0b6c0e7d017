"""What was lost: counted, and gathered until subscribers are notified. No thread, no clock of its own."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from monitor.delivery.storage import Drop, DroppedKind
from monitor.events.coverage import Dropped
from monitor.records import NumberRanges, add_numbers

DropCause = Literal["outbox-full", "outbox-too-old", "outbox-damaged", "outbox-set-aside", "picture-withheld"]


DROP_MESSAGES: dict[DropCause, str] = {
    "outbox-full": "outbox full: dropping the oldest images first, then the oldest events",
    "outbox-too-old": "outbox: dropping events older than outbox.max_age",
    "outbox-damaged": "outbox: stored events cannot be read",
    "outbox-set-aside": "outbox: events set aside because a sink never takes them",
    "picture-withheld": "events published without images: no room for them in Redis",
}
"""The log message of each cause."""


_REPORTED_WHILE_DELIVERING: DropCause = "picture-withheld"


_NOT_DROPPED: tuple[DropCause, ...] = ("picture-withheld", "outbox-set-aside")
"""Causes that have a counter of their own."""


_QUIET, _LONGEST = 5.0, 60.0  # seconds


_MAX_RANGES = 500
"""Ranges of frame numbers in one report; of more, two neighbours become one that holds both."""


@dataclass(slots=True)
class _PendingDrops:
    """Losses of one cause that nobody has been notified of."""

    first: float
    latest: float
    cameras: dict[str, "_CameraDrops"] = field(default_factory=dict)
    detail: str | None = None


@dataclass(slots=True)
class _CameraDrops:
    started_at: datetime
    ended_at: datetime
    counts: Counter[DroppedKind] = field(default_factory=Counter)
    numbers: dict[DroppedKind, NumberRanges] = field(default_factory=dict)

    def add_numbers(self, kind: DroppedKind, ranges: NumberRanges) -> None:
        """Add frames; where there are too many ranges, join neighbours, so that none is missing."""
        known = self.numbers.get(kind, ())
        for first, last in ranges:
            known = add_numbers(known, first, last)
        if len(known) > _MAX_RANGES:
            known = tuple(
                (one[0], other[1]) for one, other in zip(known[::2], [*known[1::2], known[-1]], strict=False)
            )
        self.numbers[kind] = known


class DropRecorder:
    """Losses by cause and camera, with the capture times of the first and last.

    `counts` holds what the outbox dropped, by kind, counted for each sink that had not had it. Stripped
    images and messages set aside are not among it.
    """

    def __init__(self) -> None:
        self.counts: Counter[DroppedKind] = Counter()
        self._causes: dict[DropCause, _PendingDrops] = {}

    @property
    def pending(self) -> bool:
        """Whether there is something to report."""
        return bool(self._causes)

    def record(
        self,
        cause: DropCause,
        drops: Iterable[Drop],
        now: float,
        *,
        sinks: int = 1,
        detail: str | None = None,
    ) -> bool:
        """Count losses at `now` (monotonic seconds); return whether they begin a new report of the cause."""
        drops = list(drops)
        if not drops:
            return False
        begins = cause not in self._causes
        pending = self._causes.setdefault(cause, _PendingDrops(now, now))
        pending.latest, pending.detail = now, detail or pending.detail
        for drop in drops:
            camera = pending.cameras.setdefault(drop.camera, _CameraDrops(drop.started_at, drop.ended_at))
            camera.started_at = min(camera.started_at, drop.started_at)
            camera.ended_at = max(camera.ended_at, drop.ended_at)
            camera.counts[drop.kind] += drop.count
            camera.add_numbers(drop.kind, drop.numbers)
            if cause not in _NOT_DROPPED:
                self.counts[drop.kind] += drop.count * sinks
        return begins

    def pop_due(self, now: float, *, room: bool, hurried: bool = False) -> list[Dropped]:
        """Return the losses that are due, camera by camera, and forget them.

        What the outbox dropped is due when there is `room` again, stripped images when none followed for 5 s
        or after a minute; both `hurried` at once, as far as there is room.
        """
        due = [cause for cause in self._causes if self._is_due(cause, now, room, hurried)]
        return [report for cause in sorted(due) for report in self._pop(cause)]

    def pop_all(self) -> list[Dropped]:
        """Return all losses and forget them."""
        return [report for cause in sorted(self._causes) for report in self._pop(cause)]

    def _pop(self, cause: DropCause) -> list[Dropped]:
        pending = self._causes.pop(cause)
        return [
            Dropped(
                camera=name,
                pictures=drops.counts["pictures"],
                events=drops.counts["events"],
                notices=drops.counts["notices"],
                verdicts=drops.counts["verdicts"],
                numbers=drops.numbers.get("events", ()),
                verdict_numbers=drops.numbers.get("verdicts", ()),
                started_at=drops.started_at,
                ended_at=drops.ended_at,
                cause=cause,
                detail=pending.detail,
            )
            for name, drops in sorted(pending.cameras.items())
        ]

    def _is_due(self, cause: DropCause, now: float, room: bool, hurried: bool) -> bool:
        if cause != _REPORTED_WHILE_DELIVERING:
            return room
        pending = self._causes[cause]
        return hurried or now - pending.latest >= _QUIET or now - pending.first >= _LONGEST
