"""What the outbox stores, what it loses, and what it hands to sinks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from monitor.delivery.clock import Stamp
from monitor.errors import MonitorError
from monitor.events.messages import EventMessage, OutboxMessage
from monitor.records import NumberRanges

DroppedKind = Literal["pictures", "events", "notices", "verdicts"]
"""`notices` are entries of the streams of coverage and incidents; `verdicts` are counted by frame."""


_KINDS: Mapping[str, DroppedKind] = {
    "coverage": "notices",
    "incidents": "notices",
    "verdicts": "verdicts",
}


class StorageReadError(MonitorError):
    """A message could not be read this time. It still counts as stored."""


class Position(NamedTuple):
    """Identifies a message for ever: a random name of the daemon's run, and its number within the run.

    A sink that has taken `(run, n)` has taken every message of this run up to `n` or refused it. Numbers of
    different runs are not comparable, so neither a restored file nor a clock step repeats a position.
    """

    run: str
    sequence: int


class OutboxEntry(NamedTuple):
    """A stored message. `key` is its place in the queue of this run; only the queue uses it."""

    position: Position
    message: OutboxMessage
    key: int = 0
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Messages or images of one camera that are lost, with the time of capture of the first and last.

    `numbers` are the frames whose events or verdicts are lost.
    """

    camera: str
    kind: DroppedKind
    started_at: datetime
    ended_at: datetime
    count: int = 1
    numbers: NumberRanges = ()


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """What the queue knows of a message without reading it; sizes in bytes."""

    position: Position
    stamp: Stamp
    camera: str
    size: int
    image_bytes: int
    started_at: datetime
    ended_at: datetime
    kind: DroppedKind = "events"
    numbers: NumberRanges = ()

    @classmethod
    def of(cls, message: OutboxMessage, position: Position, stamp: Stamp) -> "EntryInfo":
        """Describe a message."""
        return cls(
            position,
            stamp,
            message.camera,
            message.size,
            message.image_bytes,
            message.started_at,
            message.ended_at,
            "events" if isinstance(message, EventMessage) else _KINDS[message.stream],
            message.numbers,
        )

    def drop(self, kind: DroppedKind | None = None) -> Drop:
        """Return the loss of this message, or of its images."""
        numbers = () if kind == "pictures" else self.numbers
        count = sum(last - first + 1 for first, last in numbers) if self.kind == "verdicts" else 1
        return Drop(self.camera, kind or self.kind, self.started_at, self.ended_at, count, numbers)


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file that was set aside: why, its new name, and what it held as far as it can be read.

    `complete` is False where the file ends in an error, so that it may have held more than `held`.
    """

    reason: str
    name: str
    held: Sequence[Drop]
    complete: bool

    def losses(self, max_age: float, now: datetime) -> tuple[list[Drop], str]:
        """Return what is lost and a sentence about it; no event in it is older than `max_age` seconds."""
        detail = f"{self.reason}; the file is now {self.name}"
        if self.complete:
            return list(self.held), detail
        # How many more there were is not known.
        since = now - timedelta(seconds=min(max_age, 10**9))
        return [*self.held, Drop("*", "events", since, now, count=0)], f"{detail}; it may have held more"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an earlier run left. Keys are negative, so they precede those of this run."""

    entries: Mapping[int, EntryInfo] = field(default_factory=dict)
    cursors: Mapping[str, int] = field(default_factory=dict)
    damaged: DamagedFile | None = None


class SetAside(NamedTuple):
    """A message that a sink never takes, and the error that it raised."""

    sink: str
    reason: str
    message: OutboxMessage
