"""The file of an outbox on disk: its rows, how they are sealed, and what can be read of a damaged one."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.delivery.storage import EntryInfo
from monitor.errors import MonitorError
from monitor.events.messages import EventMessage, NoticeMessage, OutboxMessage

VERSION = 1


TABLES = """
CREATE TABLE IF NOT EXISTS waiting (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, camera TEXT NOT NULL, notice INTEGER NOT NULL,
    size INTEGER NOT NULL, picture_size INTEGER NOT NULL, seal BLOB NOT NULL,
    id TEXT NOT NULL, body TEXT NOT NULL, ready_after REAL NOT NULL, annotated BLOB, raw BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
"""


_COLUMNS = "number, at, camera, notice, size, picture_size, seal, id, body, ready_after, annotated, raw"


INSERT = f"INSERT OR REPLACE INTO waiting ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


ROW = f"SELECT {_COLUMNS} FROM waiting"  # noqa: S608 (our own column names)


_LONGEST = 1 << 40


_LOG_ROOM = 16_000_000  # bytes; twice what is written until it is copied into the database


_PROBES = 20_000  # numbers after the last readable row that are looked up one by one in a damaged file


_NOT_THE_FILES_FAULT = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM),
}


TableRow = tuple[Any, ...]
"""A row of the table, in the order of its columns."""


def connect(path: Path, sync: str) -> sqlite3.Connection:
    """A connection with the log on; `sync` as in SQLite's pragma. Its log is copied by nobody but `tidy`."""
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {sync}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is done inside, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def lock_file(path: Path) -> int:
    """Hold the file beside `path` until this process ends, however it does. Raises MonitorError."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise MonitorError(f"the outbox {path} is in use by another daemon: give each its own") from error
    return lock


def preallocate_wal(path: Path) -> None:
    """Give the log its length beforehand, in zeros, which SQLite takes for frames never written.

    Overwriting needs no new blocks, so an fsync of it does not wait for the file system's own journal. On a
    disk with little room it grows as need be.
    """
    if shutil.disk_usage(path.parent).free < 10 * _LOG_ROOM:
        return
    with path.with_name(path.name + "-wal").open("r+b") as log:
        missing = _LOG_ROOM - log.seek(0, os.SEEK_END)
        if missing > 0:
            log.write(bytes(missing))
            log.flush()
            os.fsync(log.fileno())


def _seal(parts: Sequence[object]) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def encode_row(number: int, item: OutboxMessage, at: float) -> TableRow:
    """The row of an item, sealed; `at` is Unix time."""
    if isinstance(item, NoticeMessage):
        body = json.dumps([item.stream, item.fields])
        content: TableRow = (item.id, body, 0.0, None, None)
    else:
        content = (item.id, item.document, item.processing_seconds, item.annotated_jpeg, item.raw_jpeg)
    label = EntryInfo.of(item, at)
    head = (number, at, item.camera, int(label.notice), label.size, label.picture_size)
    return (*head, _seal((*head, *content)), *content)


def decode_row(row: TableRow) -> OutboxMessage | None:
    """The item; None if the row is not what was written."""
    head, seal, content = row[:6], row[6], row[7:]
    if _seal((*head, *content)) != seal:
        return None
    identity, body, ready_after, annotated, raw = content
    if not row[3]:
        return EventMessage(identity, row[2], body, annotated, raw, ready_after)
    stream, fields = json.loads(body)
    return NoticeMessage(identity, row[2], tuple((name, value) for name, value in fields), stream)


def integrity_error(path: Path) -> str | None:
    """What is wrong with an existing file, None if nothing is. Raises what is not the file's own fault."""
    if not path.exists():
        return None
    if path.stat().st_size == 0:
        return "it is empty"  # a file of ours never is, and SQLite would take it for a new one
    try:
        with contextlib.closing(connect(path, "NORMAL")) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                return f"it is of version {version}, known is {VERSION}"
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                return str(found)
            rows = connection.execute(ROW)
            if any(decode_row(row) is None for row in rows):
                return "an entry is not as it was written"
    except UnicodeDecodeError as error:
        return str(error)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _NOT_THE_FILES_FAULT:
            raise
        return str(error)
    return None


def quarantine(path: Path) -> tuple[list[TableRow], int, list[TableRow], Path]:
    """Read what can be read of a damaged file, as `salvaged` gives it, then rename it with its log."""
    rows, damaged, notes = salvaged(path)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for ending in ("-wal", "-shm", ""):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return rows, damaged, notes, aside


def salvaged(path: Path) -> tuple[list[TableRow], int, list[TableRow]]:
    """Sound rows of a damaged file, how many more are known of, and its notes. Reads a copy of it."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="salvage-") as folder:
        copy = Path(folder) / path.name
        for ending in ("", "-wal"):
            part = path.with_name(path.name + ending)
            if part.exists():
                shutil.copyfile(part, copy.with_name(copy.name + ending))
        _lengthen(copy)
        try:
            with contextlib.closing(connect(copy, "OFF")) as connection:
                return _readable(connection)
        except sqlite3.Error:
            return [], 0, []


def _lengthen(copy: Path) -> None:
    """Give a file that was cut off its length again, in zeros: of a short one SQLite reads nothing at all."""
    with copy.open("r+b") as file:
        header = file.read(100)
        if len(header) == 100 and header.startswith(b"SQLite format 3\0"):
            page = int.from_bytes(header[16:18], "big")
            length = (65_536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
            if copy.stat().st_size < length < _LONGEST:
                file.truncate(length)


def _readable(connection: sqlite3.Connection) -> tuple[list[TableRow], int, list[TableRow]]:
    """What `salvaged` gives, of an open file."""
    rows: dict[int, TableRow] = {}
    bad: set[int] = set()
    notes: list[TableRow] = []
    last = _walk(connection, "ORDER BY number", rows, bad)
    first_from_end = _walk(connection, "ORDER BY number DESC", rows, bad)
    start = 0 if last is None else last + 1
    end = start + _PROBES if first_from_end is None else min(first_from_end, start + _PROBES)
    for number in range(start, end):
        try:
            found = connection.execute(f"{ROW} WHERE number = ?", (number,)).fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            continue  # whether there was such a row cannot be told
        _sort(found, rows, bad)
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
        found = connection.execute("SELECT name, text FROM notes").fetchall()
        notes = [row for row in found if all(isinstance(part, str) for part in row)]
    known = [*rows, *bad]
    missing = max(known) - min(known) + 1 - len(rows) if known else 0
    return [rows[number] for number in sorted(rows)], missing, notes


def _walk(connection: sqlite3.Connection, order: str, rows: dict[int, TableRow], bad: set[int]) -> int | None:
    """Read rows in this order up to the first damaged place; the last number read."""
    last = None
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
        for row in connection.execute(f"{ROW} {order}"):
            _sort(row, rows, bad)
            last = int(row[0])
    return last


def _sort(row: TableRow | None, rows: dict[int, TableRow], bad: set[int]) -> None:
    if row is not None and isinstance(row[0], int):
        if decode_row(row) is None:
            bad.add(row[0])
        else:
            rows[row[0]] = row
