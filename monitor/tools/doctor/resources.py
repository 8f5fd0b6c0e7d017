"""Checks disk and memory: the outbox's folder must be writable, fast and large enough, memory sufficient."""

import errno
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from monitor.tools.doctor.result import CheckResult, Figure, failed, format_bytes, ok, skipped

_OUTBOX = "outbox"


SLOW = 0.1
"""Median seconds of an fsync from which a disk is too slow for ten events per second."""


_EVENT_BYTES = 64 * 1024  # an event with its image, about


_TRIES = 9


_EXTRA = 32_000_000  # bytes of SQLite's log beside the database


def check_outbox_disk(
    path: Path | None, *, max_bytes: int, power: bool, fsync: Callable[[int], None] = os.fsync
) -> CheckResult:
    """Check the folder of the outbox at `path`, bounded to `max_bytes`. With `power` each event is synced."""
    if path is None:
        return skipped(
            _OUTBOX, "the outbox is in memory only", "set outbox.path to keep its events over a restart"
        )
    folder = path.parent
    try:
        with _created(folder):
            speed = _sync_seconds(folder, fsync)
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return failed(
            _OUTBOX,
            f"{folder} cannot be written: {error.strerror}",
            "create the folder and give it to the daemon's user, or set another outbox.path",
        )
    stored = sum(
        part.stat().st_size
        for ending in ("", "-wal")
        if (part := path.with_name(path.name + ending)).is_file()
    )
    message = f"{folder}: fsync takes {speed * 1e3:.1f} ms, {format_bytes(free)} free"
    figures: dict[str, Figure] = {"fsync_ms": round(speed * 1e3, 3), "free_bytes": free, "kept_bytes": stored}
    if free < max_bytes + _EXTRA - stored:
        return failed(
            _OUTBOX,
            f"{message}, less than outbox.max_bytes ({format_bytes(max_bytes)}) may need",
            "free some space, or lower outbox.max_bytes",
            figures,
        )
    if power and speed > SLOW:
        return failed(
            _OUTBOX,
            f"{message}: every event waits for it",
            'use a faster disk for outbox.path, or set outbox.sync = "process"',
            figures,
        )
    return ok(_OUTBOX, message, figures)


@contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Create the folder as the daemon does, and remove afterwards what did not exist before."""
    new = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # another program uses it by now
            for created in new:
                created.rmdir()


def _sync_seconds(folder: Path, fsync: Callable[[int], None]) -> float:
    """Median seconds that an event's bytes take to the disk."""
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_TRIES):
            file.write(bytes(_EVENT_BYTES))
            began = time.monotonic()
            fsync(file.fileno())
            times.append(time.monotonic() - began)
    return statistics.median(times)


_SHARED_MEMORY = "shared memory"


_MARGIN = 0.9
"""Share of what is available that may be taken: the network and its explanations need the rest."""


def available_bytes() -> int:
    """Memory that can be had without swapping, within this control group's limit."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    return min([free, *_group_left()])


def _group_left() -> list[int]:
    """What a control group (version 2), such as a container's or a service's, leaves; empty: no limit."""
    try:
        path = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
        folder = Path("/sys/fs/cgroup") / path
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return []
    return [] if limit == "max" else [max(0, int(limit) - int(used))]


def check_shared_memory(needed: int, queued: int = 0) -> CheckResult:
    """Check that `needed` bytes can be shared between processes, beside `queued` bytes of flagged frames.

    The shared bytes are really taken, and given back.
    """
    free = available_bytes()
    figures = {"needed_bytes": needed, "queued_bytes": queued, "available_bytes": free}
    message = (
        f"the cameras' buffers need {format_bytes(needed)} and queued flagged frames up to "
        f"{format_bytes(queued)}; {format_bytes(free)} of memory are available"
    )
    if needed + queued > _MARGIN * free:
        return failed(
            _SHARED_MEMORY,
            message,
            "lower the cameras' `buffer` or explain.queue_bytes, or give the machine (or its control group) "
            "more memory",
            figures,
        )
    try:
        descriptor = os.memfd_create("defect-monitor-doctor", os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(descriptor, 0, max(1, needed))
        finally:
            os.close(descriptor)
    except OSError as error:
        little = error.errno in (errno.ENOSPC, errno.ENOMEM)
        remedy = "give the machine more memory" if little else "allow the daemon to use memfd_create(2)"
        return failed(_SHARED_MEMORY, f"{format_bytes(needed)} cannot be allocated: {error.strerror}", remedy)
    return ok(_SHARED_MEMORY, message, figures)
