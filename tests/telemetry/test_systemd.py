"""What the service manager hears, on a real datagram socket."""

import os
import socket
import tempfile
import time
from pathlib import Path

import pytest

from monitor.telemetry.systemd import SystemdNotifier


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def manager():
    """A socket as systemd's, its address being a path."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"{folder}/notify")
        heard.setblocking(False)
        yield heard


def told(manager):
    """All datagrams that have arrived, each as a list of lines."""
    datagrams = []
    while True:
        try:
            datagrams.append(manager.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return datagrams


def test_a_life_is_told_in_order(manager, clock):
    service = SystemdNotifier(manager.getsockname(), monotonic=clock)
    service.ready("watching 2 cameras")
    service.update({}, "watching 2 cameras")
    service.update({}, "watching 2 cameras;\ncamera left is down")
    service.reloading()
    service.ready("watching 3 cameras")
    service.stopping()
    assert told(manager) == [
        ["READY=1", "STATUS=watching 2 cameras"],
        ["STATUS=watching 2 cameras; camera left is down"],  # one line: a second one would be another key
        ["RELOADING=1", "MONOTONIC_USEC=1000000000"],
        ["READY=1", "STATUS=watching 3 cameras"],
        ["STOPPING=1", "STATUS=stopping"],
    ]


def test_the_watchdog_is_fed_four_times_within_its_time_and_no_more(manager, clock):
    service = SystemdNotifier(manager.getsockname(), 8.0, clock)
    for _ in range(80):
        clock.now += 0.1
        service.update({"judge": clock.now}, "")
    assert told(manager).count(["WATCHDOG=1"]) == pytest.approx(4, abs=1)


@pytest.mark.parametrize("stuck", ["judge", "report", "cameras"])
def test_one_stuck_loop_starves_the_watchdog_within_its_time_and_a_quarter(manager, clock, stuck, caplog):
    service = SystemdNotifier(manager.getsockname(), 8.0, clock)
    stuck_at, fed_at = clock.now + 20, 0.0
    for _ in range(600):
        clock.now += 0.1
        loops = dict.fromkeys(("judge", "report", "cameras"), clock.now)
        loops[stuck] = min(clock.now, stuck_at)
        service.update(loops, "")
        if ["WATCHDOG=1"] in told(manager):
            fed_at = clock.now
    assert stuck_at - 2.2 <= fed_at <= stuck_at + 2.2
    assert [record.stuck for record in caplog.records] == [stuck]  # said once


def test_a_loop_that_gets_on_again_has_the_watchdog_fed_again(manager, clock):
    service = SystemdNotifier(manager.getsockname(), 8.0, clock)
    clock.now += 6
    service.update({"judge": clock.now - 6}, "")
    assert told(manager) == []
    service.update({"judge": clock.now}, "")
    assert told(manager) == [["WATCHDOG=1"]]


def test_without_a_watchdog_none_is_fed(manager, clock):
    service = SystemdNotifier(manager.getsockname(), None, clock)
    clock.now += 1000
    service.update({}, "")
    assert told(manager) == []


def test_systemd_is_recognised_by_the_environment_and_only_by_its_own_process(manager):
    us = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "4"}
    for pid, fed in ((str(os.getpid()), True), ("1", False)):
        service = SystemdNotifier.from_environment({**us, "WATCHDOG_PID": pid})
        time.sleep(0.001)
        service.update({}, "")
        assert (["WATCHDOG=1"] in told(manager)) is fed


def test_an_abstract_address_is_understood(clock):
    name = f"defect-monitor-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("\0" + name)
        SystemdNotifier("@" + name, monotonic=clock).ready("")
        assert heard.recv(100).startswith(b"READY=1")


def test_a_manager_that_is_gone_or_absent_stops_nothing(tmp_path: Path, clock, caplog):
    SystemdNotifier(None, 8.0, clock).ready("watching")
    assert not caplog.records
    SystemdNotifier(str(tmp_path / "nobody"), 8.0, clock).ready("watching")
    assert "cannot be notified" in caplog.text
