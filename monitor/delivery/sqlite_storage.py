"""What waits, on disk: it outlives a crash of the daemon and, with `sync="power"`, one of the machine.

SQLite with a write-ahead log. Laying something down is one transaction. With `sync="power"` it ends with an
fsync of the log (`synchronous=FULL`), so that a power cut takes nothing that was laid down; the log has its
16 MB from the start, because overwriting costs an fsync less than growing. With `sync="process"` the system
writes it out in its own time (`NORMAL`): a killed daemon loses nothing, a power cut takes the last seconds.
Removing never waits for the disk: what comes back after a power cut is delivered a second time, which Redis
knows for one. The log is copied into the database at leisure, by `tidy`. An end of the log that is cut off
looks like one that was never written, and leaves no trace.

Trouble with the disk never stops the daemon: what cannot be written is held in memory and written as soon as
it can be. Each row has a seal, so damage to it is noticed. A damaged file is set aside and what can be read
goes into a new one.
"""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from monitor.delivery.sqlite_file import (
    INSERT,
    ROW,
    TABLES,
    VERSION,
    TableRow,
    connect,
    decode_row,
    encode_row,
    integrity_error,
    lock_file,
    preallocate_wal,
    quarantine,
    transaction,
)
from monitor.delivery.storage import EntryInfo
from monitor.events.messages import OutboxMessage

logger = logging.getLogger(__name__)


_RETRY = 5.0  # seconds between tries to write what is held in memory


_LOG_BYTES = 8_000_000


_AT_HAND = 16_000_000  # bytes of what was laid down last that need not be read from the disk again


class SqliteStorage:
    """A shelf in the SQLite file at `path`; its folder is made if need be.

    `clock` is the clock of the times given to `put`, `wall` Unix time: on disk times are wall times. Raises
    MonitorError if another process uses the file, and for nothing else.
    """

    def __init__(
        self,
        path: Path,
        *,
        sync: Literal["power", "process"] = "power",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._clock = clock
        self._offset = wall() - clock()
        self._sync = "FULL" if sync == "power" else "NORMAL"
        self._held: dict[int, tuple[OutboxMessage, float]] = {}
        self._held_notes: dict[str, str] = {}
        self._read_cache: dict[int, OutboxMessage] = {}  # on disk, and in memory too
        self._at_hand_size = 0
        self._undeleted: set[int] = set()  # delivered, but still on disk
        self._trouble: str | None = None
        self._last_attempt = clock()
        self._damaged = 0
        self._wal_bytes = 0  # bytes written since the log was last copied into the database
        self._labels: dict[int, EntryInfo] = {}
        self._lock: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._remover: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = lock_file(path)
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
            self._close_connections()

    @property
    def durable(self) -> bool:
        """Whether all that lies here outlives this process."""
        return self._writer is not None and not self._held

    def trouble(self) -> str | None:
        """Why things do not outlive a crash although they should; None while all is well."""
        return self._trouble

    def load_index(self) -> Mapping[int, EntryInfo]:
        """What lies here from an earlier run, in order."""
        return self._labels

    def corrupt_count(self) -> int:
        """How many rows of a damaged file were there but could not be read."""
        return self._damaged

    def put(self, number: int, item: OutboxMessage, at: float, notes: Mapping[str, str]) -> None:
        """Lay it down; in memory while the disk does not take it."""
        self._held[number] = (item, at)
        self._held_notes |= notes
        if self._trouble is None or self._clock() - self._last_attempt >= _RETRY:
            self._write_held()

    def replace(self, number: int, item: OutboxMessage) -> None:
        """Lay down another in its place. Until the disk takes it, the old one may come back after a crash."""
        at = self._held[number][1] if number in self._held else self._labels[number].at
        self.put(number, item, at, {})

    def get(self, number: int) -> OutboxMessage | None:
        """The item; None if it cannot be read any more."""
        if number in self._held:
            return self._held[number][0]
        if number in self._read_cache:
            return self._read_cache[number]
        if self._writer is None:
            return None
        try:
            row = self._writer.execute(f"{ROW} WHERE number = ?", (number,)).fetchone()
        except sqlite3.Error as error:
            self._fail(error)
            return None
        return None if row is None else decode_row(row)

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget these."""
        for number in numbers:
            self._labels.pop(number, None)
            self._evict_cached(number)
            if self._held.pop(number, None) is None:
                self._undeleted.add(number)
        if self._remover is None or not self._undeleted:
            return
        try:
            with transaction(self._remover):
                self._remover.executemany(
                    "DELETE FROM waiting WHERE number = ?", [(n,) for n in self._undeleted]
                )
        except sqlite3.Error as error:
            self._fail(error)
        else:
            self._undeleted.clear()

    def note(self, name: str) -> str | None:
        """The latest note of this name, of an earlier run too."""
        if name in self._held_notes or self._writer is None:
            return self._held_notes.get(name)
        try:
            row = self._writer.execute("SELECT text FROM notes WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            self._fail(error)
            return None
        return None if row is None else str(row[0])

    def checkpoint(self) -> None:
        """Copy the log into the database, so that it stays short."""
        if self._writer is None or (self._wal_bytes < _LOG_BYTES and self._trouble is None):
            return
        self._wal_bytes = 0
        try:
            with contextlib.closing(connect(self.path, "NORMAL")) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:  # the log grows on; writing tells of trouble that matters
            logger.debug("the log of the outbox %s is not copied: %s", self.path, error)

    def close(self) -> None:
        """Let go of the file, after a last try to write what is held in memory."""
        if self._held:
            self._write_held()
        self._close_connections()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write_held(self) -> None:
        self._last_attempt = self._clock()
        if self._writer is None:
            return
        try:
            with transaction(self._writer):
                for number, (item, at) in self._held.items():
                    self._writer.execute(INSERT, encode_row(number, item, at + self._offset))
                for name, text in self._held_notes.items():
                    self._writer.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))
        except sqlite3.Error as error:
            self._fail(error)
            return
        for number, (item, at) in self._held.items():
            self._labels[number] = EntryInfo.of(item, at)
            self._wal_bytes += item.size
            self._keep_at_hand(number, item)
        self._held.clear()
        self._held_notes.clear()
        if self._trouble is not None:
            logger.warning("the outbox %s takes events again", self.path)
            self._trouble = None

    def _keep_at_hand(self, number: int, item: OutboxMessage) -> None:
        """So that what is delivered at once is not read from the disk first."""
        self._evict_cached(number)
        self._read_cache[number] = item
        self._at_hand_size += item.size
        while self._at_hand_size > _AT_HAND:
            self._evict_cached(next(iter(self._read_cache)))

    def _evict_cached(self, number: int) -> None:
        item = self._read_cache.pop(number, None)
        self._at_hand_size -= 0 if item is None else item.size

    def _fail(self, error: Exception) -> None:
        if self._trouble is None:
            logger.error(
                "the outbox %s fails: %s; events are held in memory until it works", self.path, error
            )
        self._trouble = f"the outbox {self.path} fails, events are held in memory: {error}"

    def _open(self) -> None:
        why = integrity_error(self.path)
        rows: list[TableRow] = []
        notes: list[TableRow] = []
        if why is not None:
            rows, self._damaged, notes, aside = quarantine(self.path)
        self._writer = connect(self.path, self._sync)
        self._remover = connect(self.path, "NORMAL")
        with transaction(self._writer):
            for statement in TABLES.split(";"):
                self._writer.execute(statement)
            self._writer.execute(f"PRAGMA user_version = {VERSION}")
            self._writer.executemany(INSERT, rows)
            self._writer.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", notes)
        if why is not None:
            logger.error(
                "the outbox %s was damaged (%s): set aside as %s; %d entries are kept, at least %d are lost",
                *(self.path, why, aside.name, len(rows), self._damaged),
            )
        if self._sync == "FULL":
            preallocate_wal(self.path)
        select = "SELECT number, at, camera, notice, size, picture_size FROM waiting ORDER BY number"
        for number, at, camera, notice, size, picture_size in self._writer.execute(select):
            self._labels[number] = EntryInfo(camera, bool(notice), size, picture_size, at - self._offset)

    def _close_connections(self) -> None:
        for connection in (self._remover, self._writer):
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        self._writer = self._remover = None
