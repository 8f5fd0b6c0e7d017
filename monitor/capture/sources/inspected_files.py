"""The memory of a watched folder: which version of which file has been inspected, over restarts."""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

_FORGET_AFTER = 30 * 86_400.0
"""Seconds after which an inspected file that is no longer in the folder is forgotten.

Not at once: a network share that is not mounted looks like an empty folder.
"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS inspected (
    name BLOB PRIMARY KEY, modified_ns INTEGER, size INTEGER, inode TEXT, at REAL
) WITHOUT ROWID
"""


class FileVersion(NamedTuple):
    """What distinguishes one content of a file from a later one under the same name."""

    modified_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileVersion":
        """Return the version that `status` describes."""
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)


class InspectedFiles:
    """Which files were inspected, by absolute path; in an SQLite file, or in memory where `path` is None.

    A file that cannot be opened or written costs the memory, not the inspection: it is logged, and after a
    restart files may be inspected again.
    """

    def __init__(self, path: Path | None) -> None:
        self._versions: dict[Path, FileVersion] = {}
        self._file: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            self._open(path)
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                self._set_aside(path, error)
            else:
                self._give_up(error)

    def __contains__(self, file: tuple[Path, FileVersion]) -> bool:
        return self._versions.get(file[0]) == file[1]

    def __len__(self) -> int:
        return len(self._versions)

    def add(self, path: Path, version: FileVersion) -> None:
        """Record that this version of the file at `path` was inspected."""
        self._versions[path] = version
        row = (os.fsencode(path), version.modified_ns, version.size, str(version.inode), time.time())
        self._execute("INSERT OR REPLACE INTO inspected VALUES (?, ?, ?, ?, ?)", row)

    def forget_missing(self, present: Iterable[Path]) -> None:
        """Drop records older than 30 days of files that are not among `present`."""
        missing = self._versions.keys() - set(present)
        if self._file is None or not missing:
            return
        old = time.time() - _FORGET_AFTER
        for path in missing:
            self._execute("DELETE FROM inspected WHERE name = ? AND at < ?", (os.fsencode(path), old))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Autocommit: what one inspection records is on disk before the next.
        file = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
        try:
            file.execute("PRAGMA journal_mode=WAL")
            # After a power cut the last records may be missing: those files are inspected again.
            file.execute("PRAGMA synchronous=NORMAL")
            file.execute(_SCHEMA)
            self._versions = {
                Path(os.fsdecode(name)): FileVersion(modified, size, int(inode))
                for name, modified, size, inode in file.execute(
                    "SELECT name, modified_ns, size, inode FROM inspected"
                )
            }
        except BaseException:
            file.close()
            raise
        self._file = file

    def _set_aside(self, path: Path, error: sqlite3.Error) -> None:
        damaged = path.with_name(path.name + ".damaged")
        try:
            path.replace(damaged)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._open(path)
        except (sqlite3.Error, OSError) as again:
            self._give_up(again)
            return
        logger.warning(
            "the list of inspected files was damaged and is now %s: files are inspected again (%s)",
            damaged,
            error,
        )

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        if self._file is None:
            return
        try:
            self._file.execute(statement, values)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.close()
        self._file = None
        logger.warning(
            "the list of inspected files cannot be stored: after a restart files are inspected again (%s)",
            error,
        )
