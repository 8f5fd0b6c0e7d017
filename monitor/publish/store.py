"""What waits, in order, within bounds. No thread, no clock, no Redis: the outbox brings those.

The order and the bounds are kept here; where the items themselves lie is a shelf's affair: in memory, or on
disk (`monitor.publish.disk_shelf`).
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol

from monitor.publish.parcel import Item, Notice, Parcel

Kind = Literal["pictures", "events", "notices"]

Loss = tuple[str, Kind]
"""A camera, and which kind of thing of it had to go."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a store knows of an item without looking at it; `at` in seconds of any one clock."""

    camera: str
    notice: bool
    size: int
    picture_size: int
    at: float

    @classmethod
    def of(cls, item: Item, at: float) -> "Label":
        """The label of an item."""
        return cls(item.camera, isinstance(item, Notice), item.size, item.picture_size, at)

    @property
    def loss(self) -> Loss:
        """How its loss is counted."""
        return self.camera, "notices" if self.notice else "events"


class Shelf(Protocol):
    """Where items lie, each under a number. Nothing here raises: what cannot be done is told as trouble."""

    def labels(self) -> Mapping[int, Label]:
        """What lies here from an earlier run, in order."""

    def damaged(self) -> int:
        """How many things of an earlier run are known to be unreadable."""

    def put(self, number: int, item: Item, at: float, notes: Mapping[str, str]) -> None:
        """Lay it down and keep the notes, in one step: after a crash there are both or neither."""

    def replace(self, number: int, item: Item) -> None:
        """Lay down another in its place."""

    def get(self, number: int) -> Item | None:
        """The item; None if it cannot be read any more."""

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget these."""

    def note(self, name: str) -> str | None:
        """The latest note of this name, of an earlier run too."""

    def tidy(self) -> None:
        """Do what takes long. Called at leisure, at the same time as the others, from one thread."""

    def trouble(self) -> str | None:
        """Why things do not outlive a crash here although they should; None while all is well."""

    @property
    def durable(self) -> bool:
        """Whether all that lies here outlives this process."""

    def close(self) -> None:
        """Let go of files. What lies on disk stays."""


class MemoryShelf:
    """Items in memory, gone with the process."""

    durable = False

    def __init__(self) -> None:
        self._items: dict[int, Item] = {}
        self._notes: dict[str, str] = {}

    def labels(self) -> Mapping[int, Label]:
        """Nothing: memory has no earlier run."""
        return {}

    def damaged(self) -> int:
        """None."""
        return 0

    def put(self, number: int, item: Item, at: float, notes: Mapping[str, str]) -> None:
        """Keep it."""
        self._items[number] = item
        self._notes |= notes

    def replace(self, number: int, item: Item) -> None:
        """Keep another in its place."""
        self._items[number] = item

    def get(self, number: int) -> Item | None:
        """The item."""
        return self._items.get(number)

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget these."""
        for number in numbers:
            self._items.pop(number, None)

    def note(self, name: str) -> str | None:
        """The latest note of this name."""
        return self._notes.get(name)

    def tidy(self) -> None:
        """Nothing takes long here."""

    def trouble(self) -> str | None:
        """None: nobody asked for more than memory."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""


class Store:
    """Keeps at most `max_items` and `max_bytes` on `shelf`, in the order they came.

    Over that, the oldest pictures go first, then the oldest events and notices. What is being delivered
    stays, so with everything else given up the newest is the one to go.
    """

    def __init__(self, max_items: int, max_bytes: int, shelf: Shelf | None = None) -> None:
        self._max_items, self._max_bytes = max_items, max_bytes
        self.shelf: Shelf = MemoryShelf() if shelf is None else shelf
        self._waiting: OrderedDict[int, Label] = OrderedDict(self.shelf.labels())
        self._pictured = OrderedDict(
            (key, None) for key, label in self._waiting.items() if label.picture_size
        )
        self._next = max(self._waiting, default=-1) + 1
        self._taken: list[Item] = []
        self._size = sum(label.size for label in self._waiting.values())
        self._unreadable: Counter[Loss] = Counter()
        if damaged := self.shelf.damaged():
            self._unreadable["*", "events"] = damaged

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    def oldest(self) -> float | None:
        """When the oldest was added."""
        return next((label.at for label in self._waiting.values()), None)

    def half_empty(self) -> bool:
        """Whether at least half of the room is free, in items and in bytes."""
        return 2 * len(self) <= self._max_items and 2 * self._size <= self._max_bytes

    def add(self, item: Item, at: float, notes: Mapping[str, str] | None = None) -> Counter[Loss]:
        """Append, keep the notes with it in one step, then give up what no longer fits, and say what."""
        self.shelf.put(self._next, item, at, notes or {})
        label = self._waiting[self._next] = Label.of(item, at)
        if label.picture_size:
            self._pictured[self._next] = None
        self._next += 1
        self._size += label.size
        lost: Counter[Loss] = Counter()
        while self._size > self._max_bytes and (loss := self._give_up_picture()):
            lost[loss] += 1
        while self._size > self._max_bytes or len(self) > self._max_items:
            if len(self._taken) == len(self):
                break
            lost[self._give_up_item()] += 1
        return lost

    def expire(self, before: float) -> Counter[Loss]:
        """Give up what was added before that moment and is not being delivered; say what."""
        lost: Counter[Loss] = Counter()
        while len(self._taken) < len(self) and self._waiting[self._first_free()].at < before:
            lost[self._give_up_item()] += 1
        return lost

    def unreadable(self) -> Counter[Loss]:
        """What turned out to be unreadable since last asked; camera `*` where it is not known."""
        found, self._unreadable = self._unreadable, Counter()
        return found

    def take(self, items: int, size: int) -> Sequence[Item]:
        """The oldest, at most `items` of them and `size` bytes, but at least one if any waits.

        Until they are settled they are not given up.
        """
        taken: list[Item] = []
        gone: list[int] = []
        for key, label in self._waiting.items():
            if taken and (len(taken) == items or label.size > size):
                break
            item = self.shelf.get(key)
            if item is None:
                gone.append(key)
                continue
            size -= label.size
            taken.append(item)
        for key in gone:
            self._unreadable[self._forget(key).loss] += 1
        self._taken = taken
        return taken

    def settle(self, delivered: int) -> Sequence[tuple[Item, float]]:
        """Forget the first `delivered` of those taken, free the others; give the forgotten, with times."""
        keys = list(islice(self._waiting, delivered))
        self.shelf.remove(keys)
        settled = [(item, self._forget(key).at) for key, item in zip(keys, self._taken, strict=False)]
        self._taken = []
        return settled

    def _first_free(self) -> int:
        """The oldest that is not being delivered; there is one."""
        return next(islice(self._waiting, len(self._taken), None))

    def _forget(self, key: int) -> Label:
        gone = self._waiting.pop(key)
        self._pictured.pop(key, None)
        self._size -= gone.size
        return gone

    def _give_up_picture(self) -> Loss | None:
        free = self._first_free() if len(self._taken) < len(self) else self._next
        key = next((key for key in self._pictured if key >= free), None)
        if key is None:
            return None
        del self._pictured[key]
        label, item = self._waiting[key], self.shelf.get(key)
        if not isinstance(item, Parcel):  # unreadable: its event is lost too, which `take` will find
            return label.camera, "pictures"
        bare = item.without_pictures()
        self.shelf.replace(key, bare)
        self._waiting[key] = Label.of(bare, label.at)
        self._size += bare.size - label.size
        return label.camera, "pictures"

    def _give_up_item(self) -> Loss:
        key = self._first_free()
        self.shelf.remove([key])
        return self._forget(key).loss
