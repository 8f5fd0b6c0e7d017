"""Memory that capture processes and the daemon share (memfd)."""

import errno
import os
from pathlib import Path

from monitor.doctor.answer import Answer, megabytes, not_ok, ok

_NAME = "shared memory"
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


def shared_memory(needed: int) -> Answer:
    """Whether `needed` bytes can be shared between processes: really taken, and given back."""
    free = available_bytes()
    figures = {"needed_bytes": needed, "available_bytes": free}
    if needed > _MARGIN * free:
        return not_ok(
            _NAME,
            f"the cameras' buffers need {megabytes(needed)}, {megabytes(free)} of memory are available",
            "lower the cameras' `buffer`, or give the machine (or its control group) more memory",
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
        mend = "give the machine more memory" if little else "allow memfd_create(2) to the daemon"
        return not_ok(_NAME, f"{megabytes(needed)} cannot be taken: {error.strerror}", mend)
    return ok(
        _NAME,
        f"the cameras' buffers need {megabytes(needed)}; {megabytes(free)} of memory are available",
        figures,
    )
