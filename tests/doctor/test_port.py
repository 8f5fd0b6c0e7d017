"""The port for metrics."""

import socket

import pytest
from prometheus_client import CollectorRegistry

from monitor.doctor.port import metrics_port, page
from monitor.errors import PortError
from monitor.measure.http import Health, serve, try_port
from monitor.measure.metrics import Metrics
from tests.daemon.conftest import free_port


def test_a_free_port_is_ok_and_stays_free() -> None:
    port = free_port()
    assert metrics_port("127.0.0.1", port).result == "ok"
    try_port("127.0.0.1", port)
    assert metrics_port("127.0.0.1", 0).result == "ok"


def test_a_port_of_another_program_is_not_ok() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        answer = metrics_port("127.0.0.1", other.getsockname()[1])
    assert answer.result == "not ok"
    assert "taken by another program" in answer.what


def test_a_port_of_another_web_server_is_not_ok() -> None:
    other = serve(
        "127.0.0.1",
        0,
        registry=CollectorRegistry(),
        health=lambda: Health(True),
        ready=lambda: Health(True),
    )
    try:
        assert metrics_port("127.0.0.1", other.port).result == "not ok"
    finally:
        other.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_of_a_running_daemon_is_ok(host: str) -> None:
    registry = CollectorRegistry()
    Metrics(registry, cameras=["a"], labels=["defect"]).build("1.2.3")
    ready = Health(False, {"degraded": ["camera a is down"]})
    daemon = serve(host, 0, registry=registry, health=lambda: Health(True), ready=lambda: ready)
    try:
        answer = metrics_port(host, daemon.port)
        assert "camera a is down" in (page(host, daemon.port, "/readyz") or "")
    finally:
        daemon.close()
    assert answer.result == "ok"
    assert "a running defect-monitor 1.2.3" in answer.what


@pytest.mark.parametrize(
    ("host", "said"), [("no.such.host.invalid", "no such host"), ("203.0.113.7", "not an")]
)
def test_a_host_that_is_none_of_ours_is_not_ok(host: str, said: str) -> None:
    answer = metrics_port(host, 9464)
    assert answer.result == "not ok"
    assert said in answer.what


def test_trying_a_port_that_is_taken_raises() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortError):
        try_port("127.0.0.1", other.getsockname()[1])
