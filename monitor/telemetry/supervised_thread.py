"""A long-lived thread whose failure and progress can be observed."""

import logging
import threading
import time
from typing import Protocol

logger = logging.getLogger(__name__)


_RECOVERED_AFTER = 60.0
"""Seconds without another failure after which a restarted loop counts as healthy."""


class Loop(Protocol):
    """Work that one thread does until it is stopped."""

    def run(self) -> None:
        """Work until stopped; update `last_heartbeat` at least every few seconds while making progress."""

    @property
    def last_heartbeat(self) -> float:
        """Time of the last progress, on the monotonic clock in seconds."""


class BackgroundPart(Protocol):
    """Work beside inspection, in a thread of its own, for which no frame waits."""

    def start(self) -> None:
        """Start the thread."""

    def close(self) -> None:
        """Let the thread end; does not wait for it."""


class SupervisedThread(threading.Thread):
    """Run `loop` in a thread called `name`; log each exception and record it as a failure.

    With `restart_after`, the loop restarts that many seconds after a failure; otherwise the thread ends.
    """

    def __init__(self, name: str, loop: Loop, *, restart_after: float | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self._loop = loop
        self._restart_after = restart_after
        self._failure: Exception | None = None
        self._failed_at = 0.0

    def run(self) -> None:
        """Run the loop until it returns, or fails without a restart."""
        while True:
            try:
                self._loop.run()
            except Exception as error:
                self._failure, self._failed_at = error, time.monotonic()
                logger.exception("thread failed", extra={"loop": self.name})
                if self._restart_after is None:
                    return
                time.sleep(self._restart_after)
            else:
                return

    @property
    def last_heartbeat(self) -> float:
        """Time of the loop's last progress, on the monotonic clock in seconds."""
        return self._loop.last_heartbeat

    @property
    def has_started(self) -> bool:
        """Return whether the thread was started."""
        return self.ident is not None

    @property
    def failure(self) -> Exception | None:
        """The exception that ended the loop, permanently or within the last minute; else None."""
        ended = self._restart_after is None
        recent = time.monotonic() - self._failed_at < _RECOVERED_AFTER
        return self._failure if ended or recent else None
