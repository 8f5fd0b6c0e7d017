"""Where the outbox's messages lie: in memory and, given a path, on disk, where they outlive a crash.

SQLite with a write-ahead log. `put` and the other changes take note in memory; `commit` and `open`, called by
one thread, do the writing, in one transaction. With `sync="power"` it ends with an fsync
(`synchronous=FULL`), so that a power cut takes nothing that was written. With `sync="process"` the system
writes in its own time (`NORMAL`): a killed daemon loses nothing, a power cut takes the last seconds.

A failing disk never stops the daemon. What cannot be written stays in memory and is tried again; so is a file
that cannot be opened. A damaged file is renamed, its loss is reported, and a new one is started.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from monitor.delivery import sqlite_file
from monitor.delivery.sqlite_file import Changes
from monitor.delivery.storage import EntryInfo, SetAside, Snapshot, StorageReadError
from monitor.events.messages import OutboxMessage

logger = logging.getLogger(__name__)


_RETRY = 5.0  # seconds between attempts to open the file, or to write to it after an error


_SLOW = 2.0  # seconds after which a commit that has not ended counts as a problem of the disk


_CACHE_BYTES = 16_000_000  # of the latest written messages, which need not be read from the disk


class SqliteStorage:
    """Stores messages in the SQLite file at `path`, whose folder it creates; without one in memory alone.

    File numbers are keys plus an offset that is fixed when the file is opened. So keys of this run begin at 0
    whether or not the file could be opened, and those of earlier runs are negative. `clock` is monotonic.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        sync: Literal["power", "process"] = "power",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._sync, self._clock = sync, clock
        self._lock = threading.Lock()  # of what is in memory; never held while the disk is in use
        self._read_lock = threading.Lock()  # of the reading connection
        self._unwritten: dict[int, tuple[OutboxMessage, EntryInfo]] = {}
        self._commit_since: float | None = None
        self._writing: set[int] = set()
        self._cache: dict[int, tuple[OutboxMessage, EntryInfo]] = {}
        self._cache_bytes = 0
        self._stripped: dict[int, EntryInfo] = {}
        self._removed: set[int] = set()
        self._aside: list[SetAside] = []
        self._cursors: dict[str, int] = {}
        self._state: dict[str, str] = {}
        self._changed = False  # cursors or state
        self._error: str | None = None
        self._retry_at = clock()
        self._offset: int | None = None
        self._file_lock: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    @property
    def durable(self) -> bool:
        """Whether messages outlive this process; those of the last moment are being written."""
        return self._writer is not None and self.problem() is None

    @property
    def unwritten(self) -> int:
        """How many messages would be lost with this process now."""
        return len(self._unwritten)

    @property
    def has_changes(self) -> bool:
        """Whether `commit` would write something now."""
        if self._writer is None or self._clock() < self._retry_at:
            return False
        return bool(self._unwritten or self._removed or self._stripped or self._aside or self._changed)

    def problem(self) -> str | None:
        """Return why messages do not outlive a crash although they should; None if all is well."""
        error, since = self._error, self._commit_since
        if error is None and since is not None and self._clock() - since >= _SLOW:
            error = f"the disk has not answered for {self._clock() - since:.0f} s"
        return error and f"outbox {self.path} fails, events are held in memory: {error}"

    def open(self) -> Snapshot | None:
        """Open the file unless it is open; give what an earlier run left, once.

        Raises MonitorError if another process uses the file.
        """
        if self.path is None or self._writer is not None or self._clock() < self._retry_at:
            return None
        try:
            return self._open(self.path)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
            self._disconnect()
            return None

    def put(self, key: int, message: OutboxMessage, info: EntryInfo, state: Mapping[str, str]) -> None:
        """Take a message and, in the same step, what is to be remembered under some names."""
        with self._lock:
            self._unwritten[key] = message, info
            self._state |= state
            self._changed = True

    def strip(self, key: int, info: EntryInfo) -> None:
        """Forget the images of a message; `info` describes what is left."""
        with self._lock:
            if key in self._unwritten:
                self._unwritten[key] = self._unwritten[key][0].without_images(), info
            else:
                self._evict(key)
            if key in self._writing or key not in self._unwritten:
                self._stripped[key] = info

    def read(self, key: int) -> OutboxMessage | None:
        """Return the message; None if it is lost for good. Raises StorageReadError, after which it is not."""
        with self._lock:
            held, stripped = self._unwritten.get(key) or self._cache.get(key), key in self._stripped
        if held is not None:
            return held[0]
        with self._read_lock:
            if self._reader is None or self._offset is None:
                raise StorageReadError(f"the outbox {self.path} is not open")
            try:
                message = sqlite_file.read_message(self._reader, key + self._offset)
            except sqlite3.Error as error:
                raise StorageReadError(f"the outbox {self.path} cannot be read: {error}") from error
            except ValueError:
                logger.exception("outbox entry cannot be decoded", extra={"path": str(self.path)})
                return None
        return message.without_images() if message and stripped else message

    def remove(self, keys: Iterable[int]) -> None:
        """Forget messages."""
        with self._lock:
            for key in keys:
                self._evict(key)
                self._stripped.pop(key, None)
                if self._unwritten.pop(key, None) is None or key in self._writing:
                    self._removed.add(key)

    def set_cursors(self, cursors: Mapping[str, int]) -> None:
        """Remember for each sink the key up to which it has taken messages; forget other sinks."""
        with self._lock:
            if cursors != self._cursors:
                self._cursors, self._changed = dict(cursors), True

    def set_aside(self, items: Sequence[SetAside]) -> None:
        """Remember messages that a sink never takes."""
        with self._lock:
            self._aside += items
            if self.path is None:
                del self._aside[: -sqlite_file.MAX_SET_ASIDE]

    def is_settled(self, key: int) -> bool:
        """Whether the message is on disk or gone, or will never be on disk."""
        return self.path is None or key not in self._unwritten

    def state(self, name: str) -> str | None:
        """Return what was remembered under this name, by an earlier run too."""
        return self._state.get(name)

    def commit(self) -> None:
        """Write what has changed, in one transaction. May take as long as the disk does."""
        if self._writer is None or self._offset is None or self._clock() < self._retry_at:
            return
        self._commit_since = self._clock()
        try:
            self._commit(self._writer, self._offset)
        finally:
            self._commit_since = None

    def _commit(self, writer: sqlite3.Connection, shift: int) -> None:
        with self._lock:
            entries, removed, stripped = dict(self._unwritten), set(self._removed), dict(self._stripped)
            aside, changed = list(self._aside), self._changed
            cursors, state = dict(self._cursors), dict(self._state)
            self._writing, self._changed = set(entries), False
        if not (entries or removed or stripped or aside or changed):
            return
        changes = Changes(
            {key + shift: entry for key, entry in entries.items()},
            {key + shift: info for key, info in stripped.items()},
            [key + shift for key in removed],
            aside,
            {sink: key + shift for sink, key in cursors.items()},
            state,
        )
        try:
            # What was delivered may come back after a power cut: sinks recognise it, so no fsync for it.
            full = self._sync == "power" and bool(entries or aside)
            writer.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            sqlite_file.write(writer, changes)
        except sqlite3.Error as error:
            self._fail(error)
            with self._lock:
                self._writing, self._changed = set(), True
                if sqlite_file.is_damage(error):  # the next `open` starts a new file
                    self._unwritten = {**self._cache, **self._unwritten}
                    self._cache, self._cache_bytes = {}, 0
            if sqlite_file.is_damage(error):
                self._disconnect()
            return
        with self._lock:
            self._writing = set()
            self._removed -= removed
            del self._aside[: len(aside)]
            for key, info in stripped.items():
                if self._stripped.get(key) is info:
                    del self._stripped[key]
            for key in entries:
                if key in self._unwritten:
                    self._remember(key, *self._unwritten.pop(key))
        if self._error is not None:
            logger.warning("outbox file works again", extra={"path": str(self.path)})
            self._error = None

    def close(self) -> None:
        """Close the file after a last attempt to write."""
        self._retry_at = self._clock()
        self.commit()
        self._disconnect()
        if self._file_lock is not None:
            os.close(self._file_lock)
            self._file_lock = None

    def _open(self, path: Path) -> Snapshot | None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._file_lock is None:
            self._file_lock = sqlite_file.lock_file(path)
        reason = sqlite_file.integrity_error(path)
        damaged = None if reason is None else sqlite_file.quarantine(path, reason)
        if damaged is not None:
            logger.error("outbox file damaged", extra={"set_aside": damaged.name, "reason": damaged.reason})
        writer = self._writer = sqlite_file.connect(path)
        sqlite_file.create_tables(writer)
        self._reader = sqlite_file.connect(path)
        if self._offset is not None:
            return None  # opened again: the queue knows what lay there
        cursors: dict[str, int] = dict(writer.execute("SELECT sink, number FROM cursors").fetchall())
        entries = dict(sqlite_file.read_entries(writer))
        state = dict(writer.execute("SELECT name, text FROM state").fetchall())
        # Beyond every number in use and beyond every cursor: a new message must never seem delivered.
        offset = max([*entries, *cursors.values()], default=0) + 1
        with self._lock:
            self._offset, self._state = offset, state | self._state
        return Snapshot(
            {number - offset: info for number, info in entries.items()},
            {sink: number - offset for sink, number in cursors.items()},
            damaged,
        )

    def _remember(self, key: int, message: OutboxMessage, info: EntryInfo) -> None:
        self._cache[key] = message, info
        self._cache_bytes += message.size
        while self._cache_bytes > _CACHE_BYTES:
            self._evict(next(iter(self._cache)))

    def _evict(self, key: int) -> None:
        held = self._cache.pop(key, None)
        self._cache_bytes -= 0 if held is None else held[0].size

    def _fail(self, error: Exception) -> None:
        self._retry_at = self._clock() + _RETRY
        if self._error is None:
            logger.error(
                "outbox file fails, events are held in memory",
                extra={"path": str(self.path), "error": str(error)},
            )
        self._error = str(error)

    def _disconnect(self) -> None:
        with self._read_lock:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    with contextlib.suppress(sqlite3.Error):
                        connection.close()
            self._writer = self._reader = None
