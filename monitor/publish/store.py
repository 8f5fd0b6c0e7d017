"""What waits, in order, within bounds. No thread, no clock, no Redis: the outbox brings those.

A store on disk takes the same methods.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from monitor.publish.parcel import Item, Notice, Parcel

Loss = tuple[str, Literal["pictures", "events", "notices"]]
"""A camera, and which kind of thing of it had to go."""


class Store(Protocol):
    """Items in the order they came. Those taken and not yet settled are never given up."""

    def add(self, item: Item, at: float) -> Counter[Loss]:
        """Append, then give up what no longer fits, and say what; `at` in seconds of any one clock."""

    def take(self, items: int, size: int) -> Sequence[Item]:
        """The oldest, at most so many and so many bytes, but at least one if any waits."""

    def settle(self, delivered: int) -> Sequence[tuple[Item, float]]:
        """Forget the first `delivered` of those taken, free the others; give the forgotten, with times."""

    def oldest(self) -> float | None:
        """When the oldest was added."""

    @property
    def size(self) -> int:
        """Bytes that wait."""

    def __len__(self) -> int: ...

    def half_empty(self) -> bool:
        """Whether at least half of the room is free, in items and in bytes."""


@dataclass(slots=True)
class _Waiting:
    item: Item
    at: float


class MemoryStore:
    """Keeps at most `max_items` and `max_bytes` in memory.

    Over that, the oldest pictures go first, then the oldest events and notices. What is being delivered
    stays, so with everything else given up the newest is the one to go.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items, self._max_bytes = max_items, max_bytes
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._pictured: OrderedDict[int, None] = OrderedDict()
        self._next = 0
        self._taken = 0
        self._size = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    def oldest(self) -> float | None:
        """When the oldest was added."""
        return next((waiting.at for waiting in self._waiting.values()), None)

    def half_empty(self) -> bool:
        """Whether at least half of the room is free, in items and in bytes."""
        return 2 * len(self) <= self._max_items and 2 * self._size <= self._max_bytes

    def add(self, item: Item, at: float) -> Counter[Loss]:
        """Append, then give up what no longer fits, and say what."""
        self._waiting[self._next] = _Waiting(item, at)
        if item.picture_size:
            self._pictured[self._next] = None
        self._next += 1
        self._size += item.size
        lost: Counter[Loss] = Counter()
        while self._size > self._max_bytes and (loss := self._give_up_picture()):
            lost[loss] += 1
        while self._size > self._max_bytes or len(self) > self._max_items:
            if (loss := self._give_up_item()) is None:
                break
            lost[loss] += 1
        return lost

    def take(self, items: int, size: int) -> Sequence[Item]:
        """The oldest, at most `items` of them and `size` bytes, but at least one if any waits."""
        taken: list[Item] = []
        for waiting in self._waiting.values():
            size -= waiting.item.size
            if taken and (len(taken) == items or size < 0):
                break
            taken.append(waiting.item)
        self._taken = len(taken)
        return taken

    def settle(self, delivered: int) -> Sequence[tuple[Item, float]]:
        """Forget the first `delivered` of those taken, free the others."""
        self._taken = 0
        return [(gone.item, gone.at) for gone in (self._remove(self._first(0)) for _ in range(delivered))]

    def _first(self, skip: int) -> int:
        return next(key for position, key in enumerate(self._waiting) if position == skip)

    def _remove(self, key: int) -> _Waiting:
        gone = self._waiting.pop(key)
        self._pictured.pop(key, None)
        self._size -= gone.item.size
        return gone

    def _give_up_picture(self) -> Loss | None:
        free = self._first(self._taken) if self._taken < len(self) else self._next
        key = next((key for key in self._pictured if key >= free), None)
        if key is None:
            return None
        del self._pictured[key]
        waiting = self._waiting[key]
        if not isinstance(waiting.item, Parcel):
            raise TypeError(f"{type(waiting.item).__name__} has no pictures to give up")
        bare = waiting.item.without_pictures()
        self._size += bare.size - waiting.item.size
        waiting.item = bare
        return bare.camera, "pictures"

    def _give_up_item(self) -> Loss | None:
        if self._taken == len(self):
            return None
        gone = self._remove(self._first(self._taken)).item
        return gone.camera, "notices" if isinstance(gone, Notice) else "events"
