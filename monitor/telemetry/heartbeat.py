"""Until when this daemon, or the one before it, was watching: the time stamp of a file."""

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

_PERIOD = 0.5
"""Seconds between stamps."""


class HeartbeatFile:
    """Keeps the time stamp of the file at `path` up to date; without a path, nothing.

    A daemon that was killed could not say goodbye: the next one tells from the file since when nobody looked.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._shown = 0.0
        self.last_seen = self._last()

    def touch(self) -> None:
        """Still watching; to be called several times a second."""
        now = time.monotonic()
        if self._path is None or now - self._shown < _PERIOD:
            return
        self._shown = now
        with contextlib.suppress(OSError):  # a disk that is full or gone: the outbox says so
            self._path.touch()

    def _last(self) -> datetime | None:
        if self._path is None:
            return None
        try:
            return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        except OSError:
            return None
