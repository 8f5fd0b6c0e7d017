"""What waits, in order, within bounds. No thread, no clock, no Redis: the outbox brings those.

The order and the bounds are kept here; where the items themselves lie is a shelf's affair: in memory, or on
disk (`monitor.delivery.sqlite_storage`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from monitor.events.messages import NoticeMessage, OutboxMessage

DroppedKind = Literal["pictures", "events", "notices"]


DropKey = tuple[str, DroppedKind]
"""A camera, and which kind of thing of it had to go."""


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """What a store knows of an item without looking at it; `at` in seconds of any one clock."""

    camera: str
    notice: bool
    size: int
    picture_size: int
    at: float

    @classmethod
    def of(cls, item: OutboxMessage, at: float) -> "EntryInfo":
        """The label of an item."""
        return cls(item.camera, isinstance(item, NoticeMessage), item.size, item.image_bytes, at)

    @property
    def loss(self) -> DropKey:
        """How its loss is counted."""
        return self.camera, "notices" if self.notice else "events"


class OutboxStorage(Protocol):
    """Where items lie, each under a number. Nothing here raises: what cannot be done is told as trouble."""

    def load_index(self) -> Mapping[int, EntryInfo]:
        """What lies here from an earlier run, in order."""

    def corrupt_count(self) -> int:
        """How many things of an earlier run are known to be unreadable."""

    def put(self, number: int, item: OutboxMessage, at: float, notes: Mapping[str, str]) -> None:
        """Lay it down and keep the notes, in one step: after a crash there are both or neither."""

    def replace(self, number: int, item: OutboxMessage) -> None:
        """Lay down another in its place."""

    def get(self, number: int) -> OutboxMessage | None:
        """The item; None if it cannot be read any more."""

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget these."""

    def note(self, name: str) -> str | None:
        """The latest note of this name, of an earlier run too."""

    def checkpoint(self) -> None:
        """Do what takes long. Called at leisure, at the same time as the others, from one thread."""

    def trouble(self) -> str | None:
        """Why things do not outlive a crash here although they should; None while all is well."""

    @property
    def durable(self) -> bool:
        """Whether all that lies here outlives this process."""

    def close(self) -> None:
        """Let go of files. What lies on disk stays."""


class MemoryStorage:
    """Items in memory, gone with the process."""

    durable = False

    def __init__(self) -> None:
        self._items: dict[int, OutboxMessage] = {}
        self._notes: dict[str, str] = {}

    def load_index(self) -> Mapping[int, EntryInfo]:
        """Nothing: memory has no earlier run."""
        return {}

    def corrupt_count(self) -> int:
        """None."""
        return 0

    def put(self, number: int, item: OutboxMessage, at: float, notes: Mapping[str, str]) -> None:
        """Keep it."""
        self._items[number] = item
        self._notes |= notes

    def replace(self, number: int, item: OutboxMessage) -> None:
        """Keep another in its place."""
        self._items[number] = item

    def get(self, number: int) -> OutboxMessage | None:
        """The item."""
        return self._items.get(number)

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget these."""
        for number in numbers:
            self._items.pop(number, None)

    def note(self, name: str) -> str | None:
        """The latest note of this name."""
        return self._notes.get(name)

    def checkpoint(self) -> None:
        """Nothing takes long here."""

    def trouble(self) -> str | None:
        """None: nobody asked for more than memory."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""
