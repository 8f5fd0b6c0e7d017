"""What a service says to its manager, in systemd's notification protocol (sd_notify(3)).

Written here because the libraries for it are older than `MONOTONIC_USEC`, need a compiler, or a newer Python;
it is one datagram of `KEY=value` lines.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


_PINGS_PER_TIMEOUT = 4
"""Feedings within the watchdog's time: some may come late on a busy machine."""


class SystemdNotifier:
    """Tells the manager how the daemon fares; without a manager, nobody.

    `address` is `$NOTIFY_SOCKET`, `watchdog` the seconds after which a manager that heard nothing ends the
    daemon, and `monotonic` a clock in seconds that agrees with CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        address: str | None = None,
        watchdog: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._interval = None if watchdog is None else watchdog / _PINGS_PER_TIMEOUT
        self._now = monotonic
        self._last_ping = monotonic()
        self._status = ""
        self._stuck: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "SystemdNotifier":
        """As systemd describes itself to the process that it starts, and to no child of that process."""
        pid, micros = environment.get("WATCHDOG_PID"), environment.get("WATCHDOG_USEC", "")
        ours = pid is None or pid == str(os.getpid())
        watchdog = int(micros) / 1e6 if ours and micros.isdigit() and int(micros) else None
        return cls(environment.get("NOTIFY_SOCKET") or None, watchdog)

    def ready(self, status: str) -> None:
        """Model and cameras were tried; also said when a reload is done."""
        self._status = status
        self._send("READY=1", _line(status))

    def reloading(self) -> None:
        """The settings are being read anew; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._now() * 1e6)}")

    def stopping(self) -> None:
        """A stop has begun."""
        self._send("STOPPING=1", "STATUS=stopping")

    def update(self, heartbeats: Mapping[str, float], status: str) -> None:
        """To be called from the main loop, again and again.

        `progress` has for each loop the monotonic time at which it last got on. The watchdog is fed only if
        every one has got on since the feeding before, so a loop that is stuck starves it after at most one
        more. `status` goes out when it has changed.
        """
        now = self._now()
        if status != self._status:
            self._status = status
            self._send(_line(status))
        if self._interval is None or now - self._last_ping < self._interval:
            return
        stuck = tuple(sorted(name for name, moved_at in heartbeats.items() if moved_at <= self._last_ping))
        if not stuck:
            self._last_ping = now
            self._send("WATCHDOG=1")
        if stuck != self._stuck:
            self._stuck = stuck
            if stuck:
                log.warning("the watchdog is not fed", extra={"stuck": ",".join(stuck)})
            else:
                log.info("the watchdog is fed again")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(1)
                channel.sendto("\n".join(lines).encode(), address)
        except OSError as error:  # inspection goes on; a manager that hears nothing acts by itself
            log.warning("the service manager cannot be told", extra={"why": str(error)})


def _line(status: str) -> str:
    return "STATUS=" + " ".join(status.split())
