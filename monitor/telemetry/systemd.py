"""Notifies the service manager, in systemd's protocol (sd_notify(3)): a datagram of `KEY=value` lines.

The available libraries lack `MONOTONIC_USEC`, need a compiler, or need a newer Python.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)


_PINGS_PER_TIMEOUT = 4
"""Keep-alives per watchdog timeout: some may be late on a busy machine."""


class SystemdNotifier:
    """Report the daemon's state to the service manager; without a manager, do nothing.

    `address` is `$NOTIFY_SOCKET`. `watchdog` is the time in seconds without a keep-alive after which the
    manager ends the daemon. `monotonic` is a clock in seconds that agrees with CLOCK_MONOTONIC.
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
        """Create it from systemd's variables for this process; ignore those meant for a parent process."""
        pid, micros = environment.get("WATCHDOG_PID"), environment.get("WATCHDOG_USEC", "")
        ours = pid is None or pid == str(os.getpid())
        watchdog = int(micros) / 1e6 if ours and micros.isdigit() and int(micros) else None
        return cls(environment.get("NOTIFY_SOCKET") or None, watchdog)

    def ready(self, status: str) -> None:
        """Report that the model is loaded and each camera was tried, or that a reload has finished."""
        self._status = status
        self._send("READY=1", _line(status))

    def reloading(self) -> None:
        """Report that the settings are being read again; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._now() * 1e6)}")

    def stopping(self) -> None:
        """Report that a stop has begun."""
        self._send("STOPPING=1", "STATUS=stopping")

    def update(self, heartbeats: Mapping[str, float], status: str) -> None:
        """Send the keep-alive when it is due, and `status` when it has changed; call this continually.

        `heartbeats` maps each thread to the monotonic time of its last progress, in seconds. The keep-alive
        is withheld unless every thread has made progress since the previous one. After a thread gets stuck,
        at most one more is sent.
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
                logger.warning("watchdog keep-alive withheld", extra={"stuck": ",".join(stuck)})
            else:
                logger.info("watchdog keep-alive sent again")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(1)
                channel.sendto("\n".join(lines).encode(), address)
        except OSError as error:  # inspection continues; the manager notices the missing keep-alive
            logger.warning("service manager cannot be notified", extra={"why": str(error)})


def _line(status: str) -> str:
    return "STATUS=" + " ".join(status.split())
