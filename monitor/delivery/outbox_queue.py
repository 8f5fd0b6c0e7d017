"""The outbox's messages in order and within bounds, with a cursor for each sink."""

import logging
import secrets
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

from monitor.delivery.clock import AgeClock
from monitor.delivery.drops import DROP_MESSAGES, DropCause, DropRecorder
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.delivery.storage import (
    Drop,
    DroppedKind,
    EntryInfo,
    OutboxEntry,
    Position,
    SetAside,
    StorageReadError,
)
from monitor.events.messages import NoticeMessage, OutboxMessage

logger = logging.getLogger(__name__)


_MAX_READ_ERRORS = 10  # failed attempts to read a message after which it counts as lost


class OutboxQueue:
    """Holds at most `max_items` messages of `max_bytes`, each until every one of `sinks` has taken it.

    Over that, the oldest images are dropped first, then the oldest messages. What is being delivered stays,
    so with everything else dropped the newest goes. Messages older than `max_age` seconds are dropped once
    the wall clock is known to be synchronised. A sink that is new starts at the end; the cursor of
    one that is not among `sinks` is deleted. Raises MonitorError if another process uses the file.

    Every method may be called from any thread. None waits for the disk but `next_batch` and `commit`, which
    hold no lock meanwhile. `clock` is monotonic seconds.
    """

    def __init__(
        self,
        sinks: Sequence[str],
        *,
        max_items: int = 10_000,
        max_bytes: int = 256_000_000,
        max_age: float = 7 * 86_400,
        storage: SqliteStorage | None = None,
        age_clock: AgeClock | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.changed = threading.Condition()
        self.drops = DropRecorder()
        self.storage = storage or SqliteStorage()
        self.run = secrets.token_hex(8)
        self._max_items, self._max_bytes, self._max_age = max_items, max_bytes, max_age
        self._ages, self._clock = age_clock or AgeClock(), clock
        self._entries: dict[int, EntryInfo] = {}
        self._keys: list[int] = []  # of `_entries`, ascending
        self._with_images: dict[int, None] = {}
        self._size = 0
        self._next = 0
        self._cursors = dict.fromkeys(sinks, -1)
        self._in_flight: dict[str, range] = {}
        self._read_errors: dict[int, int] = {}
        self._adopt()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def size(self) -> int:
        """Bytes of all messages."""
        return self._size

    def pending(self, sink: str) -> int:
        """Return how many messages the sink has not taken."""
        with self.changed:
            return len(self._keys) - bisect_right(self._keys, self._cursors[sink])

    def fraction_of(self, kind: DroppedKind) -> float:
        """Return the fraction of the bounds (0..1) that messages of this kind take."""
        with self.changed:
            sizes = [info.size for info in self._entries.values() if info.kind == kind]
        return max(len(sizes) / self._max_items, sum(sizes) / self._max_bytes)

    def oldest_age(self) -> float:
        """Return the age of the oldest message in seconds, 0 if there is none."""
        with self.changed:
            return self._ages.age(self._entries[self._keys[0]].stamp) if self._keys else 0.0

    def age(self, entry: OutboxEntry) -> float:
        """Return the seconds since the moment from which the message's delivery is counted."""
        return 0.0 if entry.stamp is None else self._ages.age(entry.stamp)

    def append(
        self, message: OutboxMessage, *, age: float = 0.0, state: Mapping[str, str] | None = None
    ) -> int:
        """Add a message whose delivery is counted from `age` seconds ago; return its key.

        `state` is stored in the same step. Drops what no longer fits.
        """
        with self.changed:
            key, self._next = self._next, self._next + 1
            info = EntryInfo.of(message, Position(self.run, key), self._ages.stamp(age))
            self.storage.put(key, message, info, state or {})
            self._add([(key, info)])
            self._make_room()
            self.changed.notify_all()
            return key

    def next_batch(self, sink: str, items: int, size: int, after: int | None = None) -> list[OutboxEntry]:
        """Return the sink's oldest messages: at most `items` of `size` bytes, but at least one if any.

        `after` skips those up to this key. They are not dropped until `acknowledge` or `release`. Raises
        StorageReadError if the first cannot be read now.
        """
        with self.changed:
            cursor = self._cursors[sink] if after is None else max(after, self._cursors[sink])
            chosen: list[tuple[int, EntryInfo]] = []
            for index in range(bisect_right(self._keys, cursor), len(self._keys)):
                info = self._entries[self._keys[index]]
                if chosen and (len(chosen) == items or info.size > size):
                    break
                size -= info.size
                chosen.append((self._keys[index], info))
            self._in_flight[sink] = range(chosen[0][0], chosen[-1][0] + 1) if chosen else range(0)
        batch: list[OutboxEntry] = []
        for key, info in chosen:  # without the lock: the disk may hang
            try:
                message = self.storage.read(key)
            except StorageReadError:
                self._read_errors[key] = self._read_errors.get(key, 0) + 1
                if self._read_errors[key] < _MAX_READ_ERRORS:
                    if batch:
                        break
                    self.release(sink)
                    raise
                message = None
            if message is not None:
                batch.append(OutboxEntry(info.position, message, key, info.stamp))
                continue
            with self.changed:
                if key in self._entries:
                    self._drop("outbox-damaged", key)
        return batch

    def release(self, sink: str) -> None:
        """Note that the sink's batch was not delivered."""
        with self.changed:
            self._in_flight.pop(sink, None)

    def acknowledge(self, sink: str, upto: int) -> None:
        """Note that the sink has taken its batch up to the key `upto`; forget what every sink has taken."""
        with self.changed:
            self._pass(sink, upto, self._in_flight.pop(sink, range(0)))
            self.changed.notify_all()

    def set_aside(self, sink: str, refused: Sequence[tuple[OutboxEntry, str]]) -> None:
        """Store messages that the sink never takes, each with the reason, and move its cursor past them."""
        with self.changed:
            refused = [(entry, reason) for entry, reason in refused if entry.key in self._entries]
            self.storage.set_aside([SetAside(sink, reason, entry.message) for entry, reason in refused])
            for entry, reason in refused:
                drop = self._entries[entry.key].drop()
                self._record("outbox-set-aside", [drop], detail=f"{sink}: {reason}")
                self._pass(sink, entry.key, range(entry.key, entry.key + 1))
            self.changed.notify_all()

    def record_stripped(self, batch: Iterable[OutboxEntry], cameras: Mapping[str, int]) -> None:
        """Note that so many events of each camera among the batch went out without their images."""
        spans = {entry.message.camera: entry.message for entry in batch}
        with self.changed:
            drops = [
                Drop(camera, "pictures", spans[camera].started_at, spans[camera].ended_at, count)
                for camera, count in cameras.items()
            ]
            self._record("picture-withheld", drops)

    def maintain(self, *, hurried: bool = False) -> None:
        """Drop messages that are too old, and append notices of losses that are due."""
        with self.changed:
            if self._ages.synchronised:
                self._expire()
            room = 2 * len(self) <= self._max_items and 2 * self._size <= self._max_bytes
            for report in self.drops.pop_due(self._clock(), room=room, hurried=hurried):
                logger.warning("outbox loss", extra=asdict(report))
                self.append(NoticeMessage.of(report))

    def report_all_drops(self) -> None:
        """Append notices of all losses, because nothing will be sent any more in this run."""
        with self.changed:
            for report in self.drops.pop_all():
                self.append(NoticeMessage.of(report))

    def commit(self) -> None:
        """Open the file if that failed before, then write what has changed. One thread at a time."""
        self._adopt()
        self.storage.commit()
        with self.changed:
            self.changed.notify_all()

    def _adopt(self) -> None:
        """Take over what an earlier run left, once its file is open."""
        snapshot = self.storage.open()
        with self.changed:
            if snapshot is not None:
                self._add(sorted(snapshot.entries.items()), older=True)
                for sink in self._cursors:
                    self._cursors[sink] = min(self._cursors[sink], snapshot.cursors.get(sink, -1))
                if snapshot.damaged is not None:
                    drops, detail = snapshot.damaged.losses(self._max_age, datetime.now(UTC))
                    self._record("outbox-damaged", drops, detail=detail)
                self._remove_passed()
                self._make_room()
                if self._keys:
                    logger.info("outbox backlog of an earlier run", extra={"messages": len(self._keys)})
            self.storage.set_cursors(self._cursors)

    def _add(self, items: Sequence[tuple[int, EntryInfo]], *, older: bool = False) -> None:
        keys = [key for key, _ in items]
        images = dict.fromkeys(key for key, info in items if info.image_bytes)
        if older:
            self._keys, self._with_images = keys + self._keys, {**images, **self._with_images}
        else:
            self._keys += keys
            self._with_images.update(images)
        self._entries.update(items)
        self._size += sum(info.size for _, info in items)

    def _pass(self, sink: str, upto: int, batch: range) -> None:
        """Move a cursor, unless an earlier run's messages have come before the batch meanwhile."""
        first = bisect_right(self._keys, self._cursors[sink])
        if first == len(self._keys) or self._keys[first] >= batch.start:
            self._cursors[sink] = max(self._cursors[sink], upto)
        self._remove_passed()
        self.storage.set_cursors(self._cursors)

    def _remove_passed(self) -> None:
        passed = self._keys[: bisect_right(self._keys, min(self._cursors.values()))]
        self._remove(passed)

    def _remove(self, keys: Sequence[int]) -> None:
        self.storage.remove(keys)
        for key in keys:
            self._size -= self._entries.pop(key).size
            self._with_images.pop(key, None)
            self._read_errors.pop(key, None)
            del self._keys[bisect_left(self._keys, key)]

    def _make_room(self) -> None:
        for key in self._idle(list(self._with_images) if self._size > self._max_bytes else ()):
            if self._size <= self._max_bytes:
                break
            self._drop_images(key)
        excess = len(self._keys) - self._max_items
        for key in self._idle(self._keys[:] if excess > 0 or self._size > self._max_bytes else ()):
            if self._size <= self._max_bytes and len(self._keys) <= self._max_items:
                break
            self._drop("outbox-full", key)

    def _expire(self) -> None:
        for key in self._idle(self._keys[:]):
            if self._ages.age(self._entries[key].stamp) <= self._max_age:
                break
            self._drop("outbox-too-old", key)

    def _idle(self, keys: Iterable[int]) -> Iterator[int]:
        """Yield the keys that no sink is taking now."""
        in_flight = list(self._in_flight.values())
        return (key for key in keys if not any(key in batch for batch in in_flight))

    def _drop_images(self, key: int) -> None:
        info = self._entries[key]
        bare = replace(info, size=info.size - info.image_bytes, image_bytes=0)
        del self._with_images[key]
        self._entries[key] = bare
        self._size -= info.image_bytes
        self.storage.strip(key, bare)
        self._record("outbox-full", [info.drop("pictures")], key)

    def _drop(self, cause: DropCause, key: int) -> None:
        self._record(cause, [self._entries[key].drop()], key)
        self._remove([key])

    def _record(
        self, cause: DropCause, drops: Sequence[Drop], key: int | None = None, *, detail: str | None = None
    ) -> None:
        """Record losses, each counted for every sink that has not taken it."""
        sinks = 1 if key is None else sum(cursor < key for cursor in self._cursors.values())
        if self.drops.record(cause, drops, self._clock(), sinks=sinks, detail=detail):
            logger.warning(DROP_MESSAGES[cause])
