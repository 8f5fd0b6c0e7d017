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
import signal, sys, time
from functools import partial
from pathlib import Path

from monitor.bootstrap.daemon import build_daemon
from monitor.bootstrap.inference import build_router
from monitor.inference.router import ModelRouter
from monitor.inference.scheduler import DeviceScheduler
from monitor.settings import load_settings
from monitor.telemetry.logs import setup_logging
from monitor.telemetry.systemd import SystemdNotifier

config = Path(sys.argv[1])


class HangingModel:
    def __init__(self, model):
        self._model, self.spec = model, model.spec

    def __getattr__(self, name):
        return getattr(self._model, name)

    def classify(self, inputs):
        while Path(f"{config}.hang").exists():
            time.sleep(0.05)
        return self._model.classify(inputs)


settings = load_settings(config)
setup_logging("info", "text")
model = HangingModel(build_router(settings, DeviceScheduler()).handles[0])
daemon = build_daemon(
    settings,
    partial(load_settings, config),
    SystemdNotifier.from_environment(),
    router=ModelRouter(model),
)
signal.signal(signal.SIGHUP, lambda *_: daemon.reload())
signal.signal(signal.SIGTERM, lambda *_: daemon.stop())
daemon.run()
"""
"""A daemon whose model hangs for as long as a file is there."""


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
            [sys.executable, "-c", HANGING, str(config)],
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
            assert "watchdog keep-alive withheld stuck=judge" in log.read_text()
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
