"""Checks the clocks: the one for durations must never go back, the time of day must be synchronised."""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from monitor.telemetry.kernel_clock import ClockStatus, kernel_time
from monitor.tools.doctor.result import CheckResult, failed, ok, skipped

_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


_TIME_SERVICES = ("chronyd", "systemd-timesyn", "ntpd", "ntpsec", "openntpd", "phc2sys")
"""Programs that set the clock, by the kernel's name of at most 15 characters."""


def time_services() -> list[str]:
    """Return the time services that run on this machine."""
    running = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            running.add(path.read_text().strip())
        except OSError:
            continue  # it has ended in the meantime
    return [name for name in _TIME_SERVICES if name in running]


def check_monotonic_clock(readings: Sequence[float] | None = None) -> CheckResult:
    """Check that the monotonic clock never goes back; `readings` are seconds in the order of reading."""
    if readings is None:
        readings = [time.monotonic() for _ in range(10_000)]
    source = _SOURCE.read_text().strip() if _SOURCE.exists() else "unknown"
    back = max(earlier - later for earlier, later in itertools.pairwise(readings))
    if back > 0:
        return failed(
            "clock",
            f"the monotonic clock ({source}) went back by {back * 1e6:.0f} µs",
            "choose another clock source: kernel option clocksource=hpet, or in a virtual machine the host's",
        )
    return ok("clock", f"monotonic; the kernel's source is {source}", {"source": source})


def check_time_sync(
    ask: Callable[[], ClockStatus] = kernel_time, running: Callable[[], list[str]] = time_services
) -> CheckResult:
    """Check that the time of day, which events carry, is synchronised."""
    try:
        status = ask()
    except OSError as error:
        return skipped("time", f"the kernel does not report whether the clock is synchronised: {error}")
    found = running()
    by = f" by {', '.join(found)}" if found else ""
    if status.synchronised:
        return ok(
            "time",
            f"synchronised{by}, off by at most {status.largest_error * 1e3:,.1f} ms",
            {"largest_error_ms": status.largest_error * 1e3},
        )
    if found:
        return failed(
            "time",
            f"{found[0]} runs, but the clock is not synchronised",
            "`chronyc sources` or `timedatectl timesync-status` shows why; is a time server within reach?",
        )
    return failed(
        "time",
        "the system clock is not synchronised: events may carry a wrong time",
        "install a time service: `apt install chrony`",
    )
