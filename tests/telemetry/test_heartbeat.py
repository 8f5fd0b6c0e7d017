"""The heartbeat file: its time stamp follows the daemon, and a disk that hangs delays nobody."""

import os
import time
from pathlib import Path
from threading import Event

import pytest

from monitor.telemetry.heartbeat import HeartbeatFile
from tests.support.redis_servers import wait_until


def test_the_next_run_reads_when_the_last_one_was_inspecting(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db.alive"
    heartbeat = HeartbeatFile(path)
    assert heartbeat.last_seen is None
    heartbeat.touch()
    wait_until(path.exists)
    os.utime(path, (1, 1))
    last_seen = HeartbeatFile(path).last_seen
    assert last_seen is not None
    assert last_seen.timestamp() == 1
    time.sleep(0.6)
    heartbeat.touch()
    wait_until(lambda: path.stat().st_mtime > 1)


def test_a_disk_that_hangs_delays_nobody_and_the_time_stamp_goes_on_once_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "alive"
    answers, asked, touch = Event(), Event(), Path.touch

    def hang(self: Path) -> None:
        asked.set()
        assert answers.wait(30)
        touch(self)

    monkeypatch.setattr(Path, "touch", hang)
    heartbeat = HeartbeatFile(path)
    heartbeat.touch()
    assert asked.wait(10)
    for _ in range(3):
        time.sleep(0.6)
        heartbeat.touch()  # would wait for ever
    assert not path.exists()
    answers.set()
    wait_until(path.exists)


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    heartbeat = HeartbeatFile(None)
    heartbeat.touch()
    assert heartbeat.last_seen is None
