"""What waits, in order, within bounds. No thread, no clock, no Redis: the outbox brings those.

The order and the bounds are kept here; where the items themselves lie is a shelf's affair: in memory, or on
disk (`monitor.delivery.sqlite_storage`).
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from itertools import islice

from monitor.delivery.storage import DropKey, EntryInfo, MemoryStorage, OutboxStorage
from monitor.events.messages import EventMessage, OutboxMessage


class OutboxQueue:
    """Keeps at most `max_items` and `max_bytes` on `shelf`, in the order they came.

    Over that, the oldest pictures go first, then the oldest events and notices. What is being delivered
    stays, so with everything else given up the newest is the one to go.
    """

    def __init__(self, max_items: int, max_bytes: int, shelf: OutboxStorage | None = None) -> None:
        self._max_items, self._max_bytes = max_items, max_bytes
        self.shelf: OutboxStorage = MemoryStorage() if shelf is None else shelf
        self._waiting: OrderedDict[int, EntryInfo] = OrderedDict(self.shelf.load_index())
        self._pictured = OrderedDict(
            (key, None) for key, label in self._waiting.items() if label.picture_size
        )
        self._next = max(self._waiting, default=-1) + 1
        self._in_flight: list[OutboxMessage] = []
        self._size = sum(label.size for label in self._waiting.values())
        self._unreadable: Counter[DropKey] = Counter()
        if damaged := self.shelf.corrupt_count():
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

    def has_headroom(self) -> bool:
        """Whether at least half of the room is free, in items and in bytes."""
        return 2 * len(self) <= self._max_items and 2 * self._size <= self._max_bytes

    def append(
        self, item: OutboxMessage, at: float, notes: Mapping[str, str] | None = None
    ) -> Counter[DropKey]:
        """Append, keep the notes with it in one step, then give up what no longer fits, and say what."""
        self.shelf.put(self._next, item, at, notes or {})
        label = self._waiting[self._next] = EntryInfo.of(item, at)
        if label.picture_size:
            self._pictured[self._next] = None
        self._next += 1
        self._size += label.size
        lost: Counter[DropKey] = Counter()
        while self._size > self._max_bytes and (loss := self._drop_image()):
            lost[loss] += 1
        while self._size > self._max_bytes or len(self) > self._max_items:
            if len(self._in_flight) == len(self):
                break
            lost[self._drop_entry()] += 1
        return lost

    def drop_older_than(self, before: float) -> Counter[DropKey]:
        """Give up what was added before that moment and is not being delivered; say what."""
        lost: Counter[DropKey] = Counter()
        while len(self._in_flight) < len(self) and self._waiting[self._oldest_idle()].at < before:
            lost[self._drop_entry()] += 1
        return lost

    def pop_corrupt(self) -> Counter[DropKey]:
        """What turned out to be unreadable since last asked; camera `*` where it is not known."""
        found, self._unreadable = self._unreadable, Counter()
        return found

    def next_batch(self, items: int, size: int) -> Sequence[OutboxMessage]:
        """The oldest, at most `items` of them and `size` bytes, but at least one if any waits.

        Until they are settled they are not given up.
        """
        taken: list[OutboxMessage] = []
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
        self._in_flight = taken
        return taken

    def acknowledge(self, delivered: int) -> Sequence[tuple[OutboxMessage, float]]:
        """Forget the first `delivered` of those taken, free the others; give the forgotten, with times."""
        keys = list(islice(self._waiting, delivered))
        self.shelf.remove(keys)
        settled = [(item, self._forget(key).at) for key, item in zip(keys, self._in_flight, strict=False)]
        self._in_flight = []
        return settled

    def _oldest_idle(self) -> int:
        """The oldest that is not being delivered; there is one."""
        return next(islice(self._waiting, len(self._in_flight), None))

    def _forget(self, key: int) -> EntryInfo:
        gone = self._waiting.pop(key)
        self._pictured.pop(key, None)
        self._size -= gone.size
        return gone

    def _drop_image(self) -> DropKey | None:
        free = self._oldest_idle() if len(self._in_flight) < len(self) else self._next
        key = next((key for key in self._pictured if key >= free), None)
        if key is None:
            return None
        del self._pictured[key]
        label, item = self._waiting[key], self.shelf.get(key)
        if not isinstance(item, EventMessage):  # unreadable: its event is lost too, which `take` will find
            return label.camera, "pictures"
        bare = item.without_images()
        self.shelf.replace(key, bare)
        self._waiting[key] = EntryInfo.of(bare, label.at)
        self._size += bare.size - label.size
        return label.camera, "pictures"

    def _drop_entry(self) -> DropKey:
        key = self._oldest_idle()
        self.shelf.remove([key])
        return self._forget(key).loss
