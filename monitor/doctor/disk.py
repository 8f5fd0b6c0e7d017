"""The outbox's folder: writable, quick enough to be synced for each event, and large enough."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from monitor.doctor.answer import Answer, Figure, megabytes, not_ok, ok, skipped

_NAME = "outbox"
SLOW = 0.1
"""Seconds for the median fsync from which a disk is too slow: ten events a second would wait for it."""
_PICTURE = 64 * 1024  # bytes of an event with its picture, about
_TRIES = 9
_EXTRA = 32_000_000  # what SQLite's log takes beside the database


def outbox(
    path: Path | None, *, max_bytes: int, power: bool, fsync: Callable[[int], None] = os.fsync
) -> Answer:
    """The folder of the outbox at `path`, bounded to `max_bytes`. With `power` each event is synced."""
    if path is None:
        return skipped(
            _NAME, "what waits for Redis is in memory alone", "outbox.path would keep it over a restart"
        )
    folder = path.parent
    try:
        with _made(folder):
            speed = _sync_seconds(folder, fsync)
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return not_ok(
            _NAME,
            f"{folder} cannot be written: {error.strerror}",
            "make the folder and give it to the daemon's user, or set outbox.path elsewhere",
        )
    kept = sum(
        part.stat().st_size
        for ending in ("", "-wal")
        if (part := path.with_name(path.name + ending)).is_file()
    )
    told = f"{folder}: fsync takes {speed * 1e3:.1f} ms, {megabytes(free)} free"
    figures: dict[str, Figure] = {"fsync_ms": round(speed * 1e3, 3), "free_bytes": free, "kept_bytes": kept}
    if free < max_bytes + _EXTRA - kept:
        return not_ok(
            _NAME,
            f"{told}, less than outbox.max_bytes ({megabytes(max_bytes)}) may take",
            "free some space, or lower outbox.max_bytes",
            figures,
        )
    if power and speed > SLOW:
        return not_ok(
            _NAME,
            f"{told}: every event waits for it",
            'use a quicker disk for outbox.path, or set outbox.sync = "process"',
            figures,
        )
    return ok(_NAME, told, figures)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder as the daemon would make it; what was not there before is taken away again."""
    new = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # somebody uses it by now
            for made in new:
                made.rmdir()


def _sync_seconds(folder: Path, fsync: Callable[[int], None]) -> float:
    """Median seconds that an event's bytes take to the disk."""
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_TRIES):
            file.write(bytes(_PICTURE))
            began = time.monotonic()
            fsync(file.fileno())
            times.append(time.monotonic() - began)
    return statistics.median(times)
