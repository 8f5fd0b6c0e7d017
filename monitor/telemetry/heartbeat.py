"""Record in the time stamp of a file until when this daemon, or an earlier run, was inspecting."""

import contextlib
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

_PERIOD = 0.5
"""Seconds between time stamps."""


class HeartbeatFile:
    """Update the time stamp of the file at `path`; without a path, do nothing.

    A killed daemon cannot report its end. The next run reads from the file since when nothing was inspected.
    `last_seen` is the time stamp (UTC) of an earlier run, None if there is none. A thread writes, so a disk
    that hangs delays nobody.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._touched_at = 0.0
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._write, name="heartbeat", daemon=True)
        self.last_seen = self._read()

    def touch(self) -> None:
        """Record that the daemon is inspecting; call this several times per second. Never waits."""
        now = time.monotonic()
        if self._path is None or now - self._touched_at < _PERIOD:
            return
        self._touched_at = now
        if self._thread.ident is None:
            self._thread.start()
        self._due.set()

    def _write(self) -> None:
        assert self._path is not None
        while self._due.wait():
            self._due.clear()
            with contextlib.suppress(OSError):  # the outbox reports a full or missing disk
                self._path.touch()

    def _read(self) -> datetime | None:
        if self._path is None:
            return None
        try:
            return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        except OSError:
            return None
