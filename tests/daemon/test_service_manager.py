"""A whole daemon under a service manager's eyes: what it tells, and when it stops feeding the watchdog."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support.daemon_process import ENVIRONMENT, free_port, write_config

CAMERA = '[[camera]]\nname = "{}"\nsource = "simulate:"\nfps = 5\n'


WATCHDOG = 3.0


HANGING = """
import sys, time
from pathlib import Path
from monitor.bootstrap import inference
from monitor.cli import main
from monitor.inference.local import LocalModel

class HangingModel(LocalModel):
    def classify(self, inputs):
        while Path(sys.argv[-1] + ".hang").exists():
            time.sleep(0.05)
        return super().classify(inputs)

inference.LocalModel = HangingModel
main()
"""
"""The command, with a network that hangs for as long as a file is there."""


def hear(manager: socket.socket, wanted: str, seconds: float) -> list[str]:
    """All that is told until a datagram with `wanted` comes; fails when it does not within the time."""
    told: list[str] = []
    manager.settimeout(seconds)
    while True:
        told.append(manager.recv(4096).decode())
        if wanted in told[-1]:
            return told


def test_a_daemon_tells_its_life_and_starves_the_watchdog_while_the_network_hangs(
    tmp_path: Path, valkey: str
):
    config = write_config(tmp_path, CAMERA.format("left"), url=valkey, port=free_port())
    hang, log = Path(f"{config}.hang"), tmp_path / "log"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        log.open("w") as output,
    ):
        manager.bind(str(tmp_path / "notify"))
        daemon = subprocess.Popen(
            [sys.executable, "-c", HANGING, "run", "-c", str(config)],
            stderr=output,
            env={
                **ENVIRONMENT,
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": str(int(WATCHDOG * 1e6)),
            },
        )
        try:
            told = hear(manager, "READY=1", 120)
            assert told == ["READY=1\nSTATUS=watching 1 camera"]
            assert "camera is up" in log.read_text()
            hear(manager, "WATCHDOG=1", WATCHDOG)

            hang.touch()
            time.sleep(1.25 * WATCHDOG)  # what is on its way
            manager.settimeout(0)
            while "WATCHDOG=1" in _next(manager):
                pass
            time.sleep(WATCHDOG)
            assert _next(manager) == ""
            assert "the watchdog is not fed stuck=judge" in log.read_text()
            hang.unlink()
            hear(manager, "WATCHDOG=1", WATCHDOG)

            config.write_text(config.read_text() + CAMERA.format("right"))
            os.kill(daemon.pid, signal.SIGHUP)
            told = hear(manager, "READY=1", 20)
            assert any(text.startswith("RELOADING=1\nMONOTONIC_USEC=") for text in told)
            assert told[-1] == "READY=1\nSTATUS=watching 2 cameras"

            daemon.send_signal(signal.SIGTERM)
            hear(manager, "STOPPING=1", 10)
            assert daemon.wait(10) == 0
        finally:
            daemon.kill()
            daemon.wait()


def _next(manager: socket.socket) -> str:
    try:
        return manager.recv(4096).decode()
    except BlockingIOError:
        return ""
