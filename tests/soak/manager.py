"""The service manager's ear: what a daemon tells it, and how long the watchdog had to wait."""

import re
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import ROOT

_UNIT = ROOT / "deploy" / "systemd" / "defect-monitor.service"


def watchdog_seconds() -> float:
    """`WatchdogSec=` of the unit: after so long without a word, the daemon would be ended."""
    found = re.search(r"^WatchdogSec=(\d+)$", _UNIT.read_text(), re.MULTILINE)
    assert found
    return float(found[1])


class FakeServiceManager:
    """Hears what is sent to the socket `path`, and counts it."""

    def __init__(self, path: Path, watchdog: float) -> None:
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(watchdog * 1e6))}
        self.told: Counter[str] = Counter()
        self._longest = 0.0
        self._fed_at: float | None = None
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.5)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hear, name="manager", daemon=True)

    @property
    def longest_pause(self) -> float:
        """The longest time between two feedings so far, the present one included."""
        with self._lock:
            now = 0.0 if self._fed_at is None else time.monotonic() - self._fed_at
            return max(self._longest, now)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _hear(self) -> None:
        while not self._over.is_set():
            try:
                lines = self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                continue
            with self._lock:
                self._note(lines, time.monotonic())

    def _note(self, lines: list[str], now: float) -> None:
        self.told.update(line for line in lines if line.endswith("=1"))
        if self._fed_at is not None and {"WATCHDOG=1", "STOPPING=1"} & set(lines):
            self._longest = max(self._longest, now - self._fed_at)
        if "STOPPING=1" in lines:
            self._fed_at = None  # TimeoutStopSec counts from here on
        elif "WATCHDOG=1" in lines or (self._fed_at is None and "READY=1" in lines):
            self._fed_at = now
