"""Until when this daemon, or the one before it, was inspecting: the time stamp of a file."""

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

_PERIOD = 0.5
"""Seconds between time stamps."""


class HeartbeatFile:
    """Updates the time stamp of the file at `path`; without a path it does nothing.

    A daemon that is killed cannot report it: from the file the next one learns since when nothing was
    inspected. `last_seen` is the stamp that an earlier run left, None if there is none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._touched_at = 0.0
        self.last_seen = self._read()

    def touch(self) -> None:
        """Record that the daemon is inspecting; to be called several times a second."""
        now = time.monotonic()
        if self._path is None or now - self._touched_at < _PERIOD:
            return
        self._touched_at = now
        with contextlib.suppress(OSError):  # a disk that is full or gone: the outbox reports it
            self._path.touch()

    def _read(self) -> datetime | None:
        if self._path is None:
            return None
        try:
            return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        except OSError:
            return None
