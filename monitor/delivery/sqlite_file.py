"""The outbox's file: its tables and rows, and how a damaged one is set aside."""

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from monitor.delivery.storage import DamagedFile, Drop, EntryInfo, SetAside
from monitor.errors import MonitorError
from monitor.events.messages import EventMessage, OutboxMessage

VERSION = 2


_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY, info TEXT NOT NULL, message TEXT NOT NULL, annotated BLOB, raw BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS cursors (sink TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS set_aside (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, sink TEXT NOT NULL, reason TEXT NOT NULL,
    message TEXT NOT NULL, annotated BLOB, raw BLOB
) STRICT;
"""


MAX_SET_ASIDE = 200
"""Messages set aside that are stored, with their images; older ones are deleted."""


_OF_THE_SYSTEM = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM),
    *(sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_TOOBIG),
}
"""Errors that say nothing about the file."""


_INFO, _MESSAGE = TypeAdapter(EntryInfo), TypeAdapter[OutboxMessage](OutboxMessage)


class Changes(NamedTuple):
    """What is to be written, by file number; all or nothing."""

    entries: Mapping[int, tuple[OutboxMessage, EntryInfo]]
    stripped: Mapping[int, EntryInfo]
    removed: Sequence[int]
    aside: Sequence[SetAside]
    cursors: Mapping[str, int]
    state: Mapping[str, str]


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether the error means a damaged file, not a system that refuses to read or write it."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)  # not all errors have one
    return code & 0xFF not in _OF_THE_SYSTEM


def connect(path: Path) -> sqlite3.Connection:
    """Open the file with a write-ahead log; creates it."""
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables unless they exist."""
    with _transaction(connection):
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def write(connection: sqlite3.Connection, changes: Changes) -> None:
    """Write the changes in one transaction."""
    entries = [(number, *_encode(*entry)) for number, entry in changes.entries.items()]
    stripped = [(_dump(_INFO, info), number) for number, info in changes.stripped.items()]
    now = datetime.now(UTC).isoformat()
    aside = [(now, item.sink, item.reason, *_content(item.message)) for item in changes.aside]
    with _transaction(connection):
        connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", entries)
        connection.executemany(
            "UPDATE entries SET info = ?, annotated = NULL, raw = NULL WHERE number = ?", stripped
        )
        connection.executemany("DELETE FROM entries WHERE number = ?", [(key,) for key in changes.removed])
        connection.executemany("INSERT INTO set_aside VALUES (NULL, ?, ?, ?, ?, ?, ?)", aside)
        connection.execute(
            "DELETE FROM set_aside WHERE number <= (SELECT max(number) FROM set_aside) - ?", (MAX_SET_ASIDE,)
        )
        connection.execute("DELETE FROM cursors")
        connection.executemany("INSERT INTO cursors VALUES (?, ?)", changes.cursors.items())
        connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", changes.state.items())


def read_entries(connection: sqlite3.Connection) -> Iterator[tuple[int, EntryInfo]]:
    """Yield number and description of each message, the oldest first. Raises ValueError for a bad row."""
    for number, info in connection.execute("SELECT number, info FROM entries ORDER BY number"):
        yield number, _INFO.validate_python(json.loads(str(info)))  # a damaged row may hold anything


def read_message(connection: sqlite3.Connection, number: int) -> OutboxMessage | None:
    """Return the message of this number. Raises ValueError for a bad row."""
    select = "SELECT message, annotated, raw FROM entries WHERE number = ?"
    row = connection.execute(select, (number,)).fetchone()
    if row is None:
        return None
    fields = json.loads(str(row[0]))
    if "document" in fields:
        fields |= {"annotated_jpeg": row[1], "raw_jpeg": row[2]}
    return _MESSAGE.validate_python(fields)


def read_set_aside(path: Path) -> list[tuple[str, str, str]]:
    """Return time, sink and reason of each message set aside, the newest first. The file may be in use."""
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT at, sink, reason FROM set_aside ORDER BY number DESC").fetchall()


def lock_file(path: Path) -> int:
    """Lock the file beside `path` until this process ends. Raises MonitorError if another process has it."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise MonitorError(f"the outbox {path} is in use by another daemon: give each its own") from error
    return lock


def integrity_error(path: Path) -> str | None:
    """Return what is wrong with an existing file; None if nothing is. Raises what is not the file's fault."""
    if not path.exists():
        return None
    if path.stat().st_size == 0:
        return "it is empty"  # a file of ours never is, and SQLite would take it for a new one
    try:
        with contextlib.closing(connect(path)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                return f"it has version {version}, this program reads version {VERSION}"
            if (missing := _missing_bytes(connection, path)) > 0:
                return f"its last {missing} bytes are missing"
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                return str(found)
            for _ in read_entries(connection):
                pass
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return str(error)
    except ValueError as error:
        return f"an entry cannot be read: {error}"
    return None


def _missing_bytes(connection: sqlite3.Connection, path: Path) -> int:
    """Return how much shorter the file is than its pages. SQLite reads what is missing of a page as zeros."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a crash may have left pages in the log alone
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return int(pages * connection.execute("PRAGMA page_size").fetchone()[0]) - path.stat().st_size


def quarantine(path: Path, reason: str) -> DamagedFile:
    """Rename a damaged file with its log, and list what its readable rows held."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for ending in ("-wal", "-shm", ""):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    held: list[Drop] = []
    try:
        uri = f"{aside.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            held.extend(info.drop() for _, info in read_entries(connection))
    except (sqlite3.Error, ValueError):
        return DamagedFile(reason, aside.name, held, complete=False)
    return DamagedFile(reason, aside.name, held, complete=True)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _encode(message: OutboxMessage, info: EntryInfo) -> tuple[Any, ...]:
    return _dump(_INFO, info), *_content(message)


def _content(message: OutboxMessage) -> tuple[Any, ...]:
    bare = _dump(_MESSAGE, message.without_images())
    if isinstance(message, EventMessage):
        return bare, message.annotated_jpeg, message.raw_jpeg
    return bare, None, None


def _dump(adapter: TypeAdapter[Any], value: object) -> str:
    """Return JSON in ASCII, so that text which is no valid Unicode is stored, too."""
    return json.dumps(adapter.dump_python(value, mode="json"))
