"""What had to be given up: counted, and gathered until subscribers are told. No thread, no clock."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from monitor.delivery.storage import DropKey, DroppedKind
from monitor.events.coverage import Dropped

DropCause = Literal["outbox-full", "outbox-too-old", "outbox-damaged", "picture-withheld"]


DROP_MESSAGES: dict[DropCause, str] = {
    "outbox-full": "the outbox is full: the oldest pictures are given up first, then the oldest events",
    "outbox-too-old": "events have waited too long for Redis and are given up",
    "outbox-damaged": "events in the outbox cannot be read any more",
    "picture-withheld": "events go to Redis without their pictures, for which it has no room",
}
"""What the log says of each."""


_TOLD_WHILE_DELIVERING: DropCause = "picture-withheld"


_QUIET, _LONGEST = timedelta(seconds=5), timedelta(minutes=1)


@dataclass(slots=True)
class _PendingDrops:
    """Losses of one cause that nobody has been told of yet."""

    began: datetime
    latest: datetime
    lost: Counter[DropKey] = field(default_factory=Counter)

    def told(self, cause: DropCause) -> list[Dropped]:
        def of(camera: str, kind: DroppedKind) -> int:
            return self.lost[camera, kind]

        return [
            Dropped(
                camera=camera,
                pictures=of(camera, "pictures"),
                events=of(camera, "events"),
                notices=of(camera, "notices"),
                started_at=self.began,
                ended_at=self.latest,
                cause=cause,
            )
            for camera in sorted({camera for camera, _ in self.lost})
        ]


class DropRecorder:
    """Losses by cause.

    `shed` counts what the outbox gave up, by kind; what was only withheld from Redis is not among it.
    """

    def __init__(self) -> None:
        self.shed: Counter[DroppedKind] = Counter()
        self._bursts: dict[DropCause, _PendingDrops] = {}

    @property
    def pending(self) -> bool:
        """Whether something is to be told."""
        return bool(self._bursts)

    def record(self, cause: DropCause, lost: Mapping[DropKey, int], now: datetime) -> bool:
        """Count these; whether they are the first of their cause since it was last told."""
        if not lost:
            return False
        first = cause not in self._bursts
        burst = self._bursts.setdefault(cause, _PendingDrops(now, now))
        burst.latest = now
        burst.lost.update(lost)
        if cause != _TOLD_WHILE_DELIVERING:
            self.count(lost)
        return first

    def count(self, lost: Mapping[DropKey, int]) -> None:
        """Count without gathering: what the telling itself displaced."""
        for (_, kind), number in lost.items():
            self.shed[kind] += number

    def pop_due(self, now: datetime, *, room: bool, hurried: bool = False) -> list[Dropped]:
        """What is to be told now, camera by camera; from then on nothing of it is pending.

        What the outbox gave up: once there is `room` again. Withheld pictures, while deliveries go on: when
        none has been withheld for 5 s, or a minute after the first. Or at once, when `hurried`.
        """
        ready = [
            cause for cause, burst in self._bursts.items() if self._over(cause, burst, now, room, hurried)
        ]
        return [shed for cause in sorted(ready) for shed in self._bursts.pop(cause).told(cause)]

    def pop_all(self) -> list[Dropped]:
        """All that is pending, to be told now."""
        bursts, self._bursts = self._bursts, {}
        return [shed for cause in sorted(bursts) for shed in bursts[cause].told(cause)]

    @staticmethod
    def _over(cause: DropCause, burst: _PendingDrops, now: datetime, room: bool, hurried: bool) -> bool:
        if cause != _TOLD_WHILE_DELIVERING:
            return room
        return hurried or now - burst.latest >= _QUIET or now - burst.began >= _LONGEST
