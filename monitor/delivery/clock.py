"""The age of a stored message, which clock steps, suspend and restarts must not change."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from monitor.telemetry.kernel_clock import kernel_synchronised

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


_CHECK_INTERVAL = 5.0  # seconds between two questions to the kernel


def boot_id() -> str:
    """Return the kernel's identifier of this boot; empty where there is none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment: seconds since boot `boot`, and Unix time if the wall clock was synchronised then."""

    boot: str
    seconds: float
    wall: float | None


class AgeClock:
    """Stamps moments and computes their age in seconds.

    Within one boot the age comes from CLOCK_BOOTTIME, which no clock step changes and which counts suspend.
    Across boots it is the difference of two synchronised wall clocks; without those, the time since this
    object was made, which is less than the true age.

    - `seconds`: seconds since boot, including suspend
    - `wall`: Unix time
    - `is_synchronised`: whether the wall clock can be trusted
    - `boot`: identifier of this boot
    """

    def __init__(
        self,
        *,
        seconds: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        wall: Callable[[], float] = time.time,
        is_synchronised: Callable[[], bool] = kernel_synchronised,
        boot: str | None = None,
    ) -> None:
        self._seconds, self._wall, self._is_synchronised = seconds, wall, is_synchronised
        self._boot = boot_id() if boot is None else boot
        self._made_at = seconds()
        self._checked_at = self._made_at - _CHECK_INTERVAL
        self._synchronised = False

    @property
    def synchronised(self) -> bool:
        """Whether the wall clock is known to be synchronised; asked at most every 5 s."""
        now = self._seconds()
        if now - self._checked_at >= _CHECK_INTERVAL:
            self._synchronised, self._checked_at = self._is_synchronised(), now
        return self._synchronised

    def stamp(self, age: float = 0.0) -> Stamp:
        """Stamp the moment `age` seconds ago."""
        wall = self._wall() - age if self.synchronised else None
        return Stamp(self._boot, self._seconds() - age, wall)

    def age(self, stamp: Stamp) -> float:
        """Return the seconds since `stamp`, at least 0; a lower bound where no clock can tell."""
        now = self._seconds()
        if stamp.boot == self._boot and self._boot:
            return max(0.0, now - stamp.seconds)
        since_start = max(0.0, now - self._made_at)
        if stamp.wall is not None and self.synchronised:
            return max(since_start, self._wall() - stamp.wall)
        return since_start
