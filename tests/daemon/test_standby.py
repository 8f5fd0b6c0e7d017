"""Two real daemons with one camera name: the second stands by, and takes over when the first dies."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from tests.support.daemon_process import (
    DaemonUnderTest,
    coverage_of,
    free_port,
    run_daemon,
    wait_for,
    write_config,
)

CAMERA = '[[camera]]\nname = "{}"\nsource = "simulate:?size=128x128"\nfps = 5\n'


def settings(folder: Path, name: str, url: str, model: str) -> tuple[Path, int]:
    folder = folder / name
    folder.mkdir(exist_ok=True)
    port = free_port()
    return write_config(folder, CAMERA.format("top"), url=url, port=port, more=model), port


def report(daemon: DaemonUnderTest, page: str) -> dict[str, object]:
    return dict(json.loads(daemon.get(page)[1] or "{}"))


def frames(daemon: DaemonUnderTest) -> float:
    return daemon.metric("defect_monitor_frames_total{")


@contextmanager
def service_manager(path: Path) -> Iterator[list[str]]:
    """Everything that a daemon sends to the service manager at this socket."""
    messages: list[str] = []
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(0.2)

        def listen() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    messages.append(manager.recv(4096).decode())

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield messages
        finally:
            ended.set()
            thread.join(5)


def test_a_standby_waits_and_takes_over_within_a_lease_once_the_holder_was_killed(
    tmp_path: Path, valkey: str, small_model: str
) -> None:
    first_config, first_port = settings(tmp_path, "first", valkey, small_model)
    config, port = settings(tmp_path, "second", valkey, small_model)
    notify = tmp_path / "notify"
    with service_manager(notify) as messages, run_daemon(first_config, first_port) as first:
        first.ready()
        environment = {"NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": "3000000"}
        with run_daemon(config, port, environment=environment) as second:
            wait_for(lambda: messages.count("WATCHDOG=1") > 1, 180, second)
            assert messages[0].startswith("READY=1\nSTATUS=standby: camera top is inspected by daemon ")
            status, body = second.get("/readyz")
            assert (status, json.loads(body)["standby"]) == (503, True)
            assert second.get("/healthz")[0] == 200
            assert report(second, "/healthz")["standby"] is True
            assert second.metric("defect_monitor_standby") == 1
            assert 'camera="top"' not in second.get("/metrics")[1]  # no alert on cameras of a standby
            seen = messages.count("WATCHDOG=1")
            wait_for(lambda: messages.count("WATCHDOG=1") > seen + 2, 30, second)

            os.kill(first.process.pid, signal.SIGKILL)
            died = datetime.now().astimezone()
            wait_for(lambda: second.metric("defect_monitor_standby") == 0, 180, second)
            second.ready()
            wait_for(lambda: frames(second) > 2, 120, second)
            assert report(second, "/readyz")["standby"] is False
            (gap,) = [it for it in coverage_of(valkey) if it.get("cause") == "not-running"]
            since, until = (datetime.fromisoformat(gap[name]) for name in ("from", "to"))
            # The gap begins no later than the death, whenever the last renewal was.
            assert since <= died <= until
            assert "taking over" in second.log.read_text()
            assert second.stop() == 0


def test_a_standby_stops_at_once_and_reloads_names_that_are_free(
    tmp_path: Path, valkey: str, small_model: str
) -> None:
    first_config, first_port = settings(tmp_path, "first", valkey, small_model)
    config, port = settings(tmp_path, "second", valkey, small_model)
    with run_daemon(first_config, first_port) as first:
        first.ready()
        with run_daemon(config, port) as second:
            wait_for(lambda: second.metric("defect_monitor_standby") == 1, 180, second)
            assert second.stop() == 0
        with run_daemon(config, port) as second:
            wait_for(lambda: second.metric("defect_monitor_standby") == 1, 180, second)
            config.write_text(config.read_text().replace('"top"', '"side"'))
            second.process.send_signal(signal.SIGHUP)
            assert list(second.ready()["cameras"]) == ["side"]
            assert second.stop() == 0
        assert first.stop() == 0
