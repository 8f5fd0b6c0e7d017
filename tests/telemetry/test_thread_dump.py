"""What the threads do and what waits is told when asked for."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from monitor.telemetry.thread_dump import format_threads
from tests.support.daemon_process import free_port, run_daemon, wait_for, write_config

STUCK = """
import logging, os, signal, threading, time
logging.basicConfig(format="%(message)s")
from monitor.telemetry.thread_dump import dump_on_signal
dump_on_signal(lambda: {"outbox": 7})
child = os.fork()
if not child:
    os.kill(os.getpid(), signal.SIGUSR1)  # whoever signals a whole service reaches children too
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
lock = threading.Lock()
lock.acquire()
threading.Thread(target=lock.acquire, name="second").start()
print("stuck", flush=True)
lock.acquire()
"""


def test_a_thread_is_told_from_its_first_call_to_its_last() -> None:
    here = sys._getframe()
    first, waiting = format_threads({"one": here}, {"camera left": 3, "outbox": 0})
    assert first.startswith("thread one: ")
    assert re.search(rf" > telemetry/test_thread_dump.py:\d+ {here.f_code.co_name}$", first)
    assert waiting == "waiting: camera left 3, outbox 0"


def test_before_anything_runs_nothing_waits() -> None:
    assert list(format_threads({}, {})) == ["waiting: nothing yet"]


def test_a_process_whose_every_thread_is_stuck_answers_again_and_again() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        ending = threading.Timer(30, process.kill)
        ending.start()
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "stuck\n"
        for _ in range(2):
            process.send_signal(signal.SIGUSR1)
            told = [process.stderr.readline() for _ in range(4)]
            assert any(line.startswith("thread MainThread: ") and "<string>:" in line for line in told), told
            assert any(line.startswith("thread second: ") for line in told)
            assert told[-1] == "waiting: outbox 7\n"
        process.kill()
        ending.cancel()


def test_a_running_daemon_tells_and_goes_on(tmp_path: Path, valkey: str, small_model: str) -> None:
    port = free_port()
    camera = '[[camera]]\nname = "c"\nsource = "simulate:?size=64x64"\nfps = 10\n'
    config = write_config(tmp_path, camera, url=valkey, port=port, more="batch = 1\n" + small_model)
    with run_daemon(config, port) as daemon:
        daemon.ready()
        children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
        for process in (daemon.process.pid, *map(int, children)):
            os.kill(process, signal.SIGUSR1)
        wait_for(lambda: "waiting: camera c " in daemon.log.read_text(), 30, daemon)
        log = daemon.log.read_text()
        for loop in ("MainThread", "judge", "report", "outbox", "capture c", "http"):
            assert f"thread {loop}: " in log
        assert "daemon/daemon.py:" in log
        before = daemon.metric("defect_monitor_frames_total")
        wait_for(lambda: daemon.metric("defect_monitor_frames_total") > before, 30, daemon)
        assert daemon.metric("defect_monitor_camera_reconnects_total") == 0
        assert daemon.stop(15) == 0
