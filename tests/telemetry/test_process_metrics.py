"""Capture processes as the kernel sees them: real ones, of a known size, busy or at rest."""

import os
import resource
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

from monitor.telemetry.process_metrics import WorkerProcessCollector

MEMORY = "defect_monitor_camera_process_resident_memory_bytes"


TIME = "defect_monitor_camera_process_cpu_seconds_total"


PROGRAM = """
import sys, time
block = bytearray(b"x") * int(sys.argv[1])
while time.process_time() < float(sys.argv[2]):
    pass
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start():
    """Starts a process that holds so many bytes and has taken so many seconds of the processor."""
    started = []

    def start(size: int, seconds: float) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", PROGRAM, str(size), str(seconds)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.communicate(timeout=10)


def test_each_camera_has_the_memory_and_the_time_of_its_process(start):
    registry = CollectorRegistry()
    pids = {"small": start(1_000_000, 0.0).pid, "large": start(80_000_000, 0.5).pid}
    WorkerProcessCollector(registry, lambda: pids)

    def value(name: str, camera: str) -> float:
        return registry.get_sample_value(name, {"camera": camera})

    assert value(MEMORY, "large") - value(MEMORY, "small") == pytest.approx(79e6, rel=0.1)
    assert 0.45 < value(TIME, "large") < 5  # the kernel counts in hundredths, and rounds
    assert value(TIME, "small") < value(TIME, "large")


def test_a_process_that_is_gone_is_left_out_and_its_successor_taken_up(start):
    registry = CollectorRegistry()
    process = start(1_000_000, 0.0)
    pids = {"a": process.pid, "b": os.getpid()}
    WorkerProcessCollector(registry, lambda: pids)
    process.communicate(timeout=10)
    assert registry.get_sample_value(MEMORY, {"camera": "a"}) is None
    assert registry.get_sample_value(MEMORY, {"camera": "b"}) <= (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * 1.01
    )
    pids["a"] = start(1_000_000, 0.0).pid
    assert registry.get_sample_value(MEMORY, {"camera": "a"}) > 0
