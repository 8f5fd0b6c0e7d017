"""However often a camera is lost and found, nothing is left of it: no file, thread, process or memory."""

import gc
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.eager_worker import launch
from tests.support.camera_faults import CameraUnderTest, RecordedFrame
from tests.support.daemon_process import children_of
from tests.support.fault_tables import RecordGrowth
from tests.support.rtsp_server import why_absent

SLACK = 8 * 1024
"""Kilobytes by which resident memory may differ: an allocator's moods."""


@dataclass(frozen=True)
class ResourceUsage:
    """What a process holds; `memory` in resident kilobytes."""

    files: int
    threads: int
    rings: int
    memory: int

    def is_within(self, earlier: "ResourceUsage") -> bool:
        """Whether nothing has grown. Less is no growth: what earlier tests of the process left may go."""
        counted = ((self.files, earlier.files), (self.threads, earlier.threads), (self.rings, earlier.rings))
        return all(now <= then for now, then in counted) and self.memory <= earlier.memory + SLACK

    @staticmethod
    def by(process_id: int) -> "ResourceUsage":
        """As /proc says."""
        gc.collect()  # what earlier tests left would otherwise hide growth by going meanwhile
        process = Path("/proc", str(process_id))
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return ResourceUsage(
            files=len(list((process / "fd").iterdir())),
            threads=int(status["Threads"]),
            rings=(process / "maps").read_text().count("memfd:frames"),
            memory=int(status["VmRSS"].split()[0]),
        )


def usage_of(process_id: int, earlier: ResourceUsage) -> ResourceUsage:
    """What a process holds once it is back to what it held, or after ten seconds: threads may be ending."""
    deadline = time.monotonic() + 10
    while not (now := ResourceUsage.by(process_id)).is_within(earlier) and time.monotonic() < deadline:
        time.sleep(0.5)
    return now


@pytest.fixture
def place() -> Iterator[CameraUnderTest]:
    if reason := why_absent():
        pytest.skip(reason)
    with CameraUnderTest(fps=25, launch=launch, delays=lambda: itertools.repeat(0.0)) as place:
        yield place


def lose(place: CameraUnderTest, how: Callable[[], None]) -> None:
    """Break something, and wait until the camera was away and is back."""
    watcher = place.watcher
    told = len(watcher.changes)

    def again(_: RecordedFrame) -> bool:
        return "up" in [change.state for change in watcher.changes[told:]]

    how()
    watcher.wait_for(again, len(watcher.seen))


def test_a_thousand_reconnections_leave_nothing_behind(
    place: CameraUnderTest, times: Callable[[int, int], int], record_growth: RecordGrowth
) -> None:
    count = times(30, 1000)
    place.settled()
    for _ in range(times(5, 50)):
        lose(place, place.wire.reset)
    place.settled()
    reader = place.watcher.camera.pid
    assert reader
    before, born = (ResourceUsage.by(os.getpid()), ResourceUsage.by(reader)), len(children_of(os.getpid()))
    for _ in range(count):
        lose(place, place.wire.reset)
    place.settled()
    assert place.watcher.camera.pid == reader
    after = usage_of(os.getpid(), before[0]), usage_of(reader, before[1])
    for name, old, new in zip(("daemon's side", "capture process"), before, after, strict=True):
        record_growth(f"{count} reconnections, {name}", vars(old), vars(new))
    assert len(children_of(os.getpid())) == born
    for old, new in zip(before, after, strict=True):
        assert new.is_within(old), (new, old)


def test_a_capture_process_killed_again_and_again_leaves_nothing_behind(
    place: CameraUnderTest, times: Callable[[int, int], int], record_growth: RecordGrowth
) -> None:
    count = times(3, 100)
    place.settled()
    for _ in range(times(1, 10)):
        lose(place, lambda: place.signal(signal.SIGKILL))
    place.settled()
    before, born = ResourceUsage.by(os.getpid()), len(children_of(os.getpid()))
    for _ in range(count):
        lose(place, lambda: place.signal(signal.SIGKILL))
    place.settled()
    after = usage_of(os.getpid(), before)
    record_growth(f"{count} capture processes killed, daemon's side", vars(before), vars(after))
    assert len(children_of(os.getpid())) == born
    assert after.is_within(before), (after, before)
