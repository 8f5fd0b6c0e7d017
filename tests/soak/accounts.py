"""What came of each camera's frames, read off a page of metrics while nothing more comes."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.support.daemon_process import DaemonUnderTest, children_of

OUTCOMES = ("clean", "defect", "unusable", "dropped")


def readers_of(daemon: DaemonUnderTest) -> dict[str, int]:
    """The capture process of each camera."""
    found = {}
    for pid in children_of(daemon.process.pid):
        with contextlib.suppress(OSError):  # it has just ended
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if "monitor.capture.worker" in words:
                found[words[words.index("monitor.capture.worker") + 1]] = pid
    return found


@contextlib.contextmanager
def held(daemon: DaemonUnderTest) -> Iterator[dict[str, int]]:
    """The capture processes stopped, for less time than makes a camera a stalled one."""
    readers = readers_of(daemon)
    for reader in readers.values():
        os.kill(reader, signal.SIGSTOP)
    try:
        yield readers
    finally:
        for reader in readers.values():
            os.kill(reader, signal.SIGCONT)


def sample(page: str, name: str, labels: str = "") -> float:
    """The sum of all series of a metric whose first labels are these."""
    starts = f"defect_monitor_{name}{{{labels}", f"defect_monitor_{name} "
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(starts))


def frames_in(page: str, camera: str) -> int:
    """How many frames came from a camera's capture process."""
    return int(sample(page, "stage_seconds_count", f'camera="{camera}",stage="capture"}}'))


def outcomes(page: str, camera: str) -> dict[str, int]:
    """How many of them ended how."""
    return {
        one: int(sample(page, "frames_total", f'camera="{camera}",outcome="{one}"}}')) for one in OUTCOMES
    }


def is_exact(page: str, camera: str) -> bool:
    """Whether each frame that came has exactly one outcome; true for good once nothing more comes."""
    return sum(outcomes(page, camera).values()) == frames_in(page, camera) > 0
