"""The clocks: does the one for durations only go forward, and does somebody keep the time of day right?"""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from monitor.telemetry.kernel_clock import ClockStatus, kernel_time
from monitor.tools.doctor.result import CheckResult, failed, ok, skipped

_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


_KEEPERS = ("chronyd", "systemd-timesyn", "ntpd", "ntpsec", "openntpd", "phc2sys")
"""Programs that set the clock, as the kernel names them: 15 letters at most."""


def time_services() -> list[str]:
    """Programs running here that keep the time."""
    running = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            running.add(path.read_text().strip())
        except OSError:
            continue  # it has ended since
    return [name for name in _KEEPERS if name in running]


def check_monotonic_clock(readings: Sequence[float] | None = None) -> CheckResult:
    """Whether the monotonic clock never goes back; `readings` are seconds, in the order they were taken."""
    if readings is None:
        readings = [time.monotonic() for _ in range(10_000)]
    source = _SOURCE.read_text().strip() if _SOURCE.exists() else "unknown"
    back = max(earlier - later for earlier, later in itertools.pairwise(readings))
    if back > 0:
        return failed(
            "clock",
            f"the monotonic clock ({source}) went back by {back * 1e6:.0f} µs",
            "choose another clock source: kernel option clocksource=hpet, in a virtual machine the host's",
        )
    return ok("clock", f"monotonic; the kernel's source is {source}", {"source": source})


def check_time_sync(
    ask: Callable[[], ClockStatus] = kernel_time, running: Callable[[], list[str]] = time_services
) -> CheckResult:
    """Whether the time of day, which events are stamped with, is kept by somebody."""
    try:
        said = ask()
    except OSError as error:
        return skipped("time", f"the kernel does not say whether the time is kept: {error}")
    found = running()
    by = f" by {', '.join(found)}" if found else ""
    if said.synchronised:
        return ok(
            "time",
            f"synchronised{by}, off by at most {said.largest_error * 1e3:,.1f} ms",
            {"largest_error_ms": said.largest_error * 1e3},
        )
    if found:
        return failed(
            "time",
            f"{found[0]} runs, but the clock is not synchronised",
            "`chronyc sources` or `timedatectl timesync-status` says why; is a time server in reach?",
        )
    return failed(
        "time",
        "the kernel says that nobody keeps the clock: events may be stamped with a wrong time",
        "install one that does: `apt install chrony`",
    )
