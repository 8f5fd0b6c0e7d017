"""Alerts of a real Prometheus on a real daemon, as its camera, its Redis and it itself go away."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.camera_faults import FULL_RUN
from tests.support.daemon_process import run_daemon, write_config
from tests.support.prometheus import PrometheusServer, free_port, settings_that_hurry
from tests.support.redis_servers import ServerProcess

pytestmark = [
    pytest.mark.skipif(not FULL_RUN, reason="takes a minute: run by `make faults`"),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed"),
]


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[tuple[PrometheusServer, int]]:
    """A server that asks the port given with it, and whose alerts wait for two seconds."""
    port = free_port()
    server = PrometheusServer(free_port(), tmp_path)
    settings = settings_that_hurry(tmp_path, {"defect-monitor": port, "node": free_port()}, "2s")
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(server.command(settings), stdout=log, stderr=subprocess.STDOUT)
        try:
            yield server, port
        finally:
            process.terminate()
            process.wait(30)


def firing(alert: str, labels: str = "") -> str:
    """The series that Prometheus has while the alert fires."""
    return f'ALERTS{{alertname="DefectMonitor{alert}",alertstate="firing"{labels}}}'


def quiet(alert: str, labels: str = "") -> str:
    """Finds something while the alert does not fire."""
    return f"absent({firing(alert, labels)})"


def test_a_camera_a_redis_and_a_daemon_that_go_away_are_alerts(
    prometheus: tuple[PrometheusServer, int], make_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    watcher, port = prometheus
    redis = make_server()
    cameras = (
        '[[camera]]\nname = "there"\nsource = "simulate:?seed=1&defect_rate=0"\n'
        f'[[camera]]\nname = "away"\nsource = "rtsp://127.0.0.1:{free_port()}/none"\n'
    )
    with run_daemon(write_config(tmp_path, cameras, url=redis.url, port=port), port):
        watcher.wait_for('defect_monitor_camera_up{camera="there"} == 1')
        watcher.wait_for(firing("CameraDown", ',camera="away"'))
        watcher.wait_for(quiet("CameraDown", ',camera="there"'))
        watcher.wait_for(quiet("RedisUnreachable"))
        redis.stop()  # with nothing to send but what the claims say
        watcher.wait_for(firing("RedisUnreachable"))
        redis.start()
        watcher.wait_for(quiet("RedisUnreachable"))
        assert watcher.series(firing("Down")) == []
    watcher.wait_for(firing("Down"))
