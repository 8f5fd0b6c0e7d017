"""The port for metrics."""

import socket

import pytest
from prometheus_client import CollectorRegistry

from monitor.errors import PortError
from monitor.telemetry.http_server import HealthReport, start_http_server
from monitor.telemetry.http_server import check_port as try_port
from monitor.telemetry.metrics import Metrics
from monitor.tools.doctor.metrics_port import check_port, fetch_page
from tests.support.daemon_process import free_port


def test_a_free_port_is_ok_and_stays_free() -> None:
    port = free_port()
    assert check_port("127.0.0.1", port).result == "ok"
    try_port("127.0.0.1", port)
    assert check_port("127.0.0.1", 0).result == "ok"


def test_a_port_of_another_program_is_not_ok() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        answer = check_port("127.0.0.1", other.getsockname()[1])
    assert answer.result == "not ok"
    assert "taken by another program" in answer.message


def test_a_port_of_another_web_server_is_not_ok() -> None:
    other = start_http_server(
        "127.0.0.1",
        0,
        registry=CollectorRegistry(),
        liveness=lambda: HealthReport(True),
        readiness=lambda: HealthReport(True),
    )
    try:
        assert check_port("127.0.0.1", other.port).result == "not ok"
    finally:
        other.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_of_a_running_daemon_is_ok(host: str) -> None:
    registry = CollectorRegistry()
    Metrics(registry, cameras=["a"], labels=["defect"]).build("1.2.3")
    ready = HealthReport(False, {"degraded": ["camera a is down"]})
    daemon = start_http_server(
        host, 0, registry=registry, liveness=lambda: HealthReport(True), readiness=lambda: ready
    )
    try:
        answer = check_port(host, daemon.port)
        assert "camera a is down" in (fetch_page(host, daemon.port, "/readyz") or "")
    finally:
        daemon.close()
    assert answer.result == "ok"
    assert "a running defect-monitor 1.2.3" in answer.message


@pytest.mark.parametrize(
    ("host", "message"), [("no.such.host.invalid", "no such host"), ("203.0.113.7", "not an")]
)
def test_a_host_that_is_none_of_ours_is_not_ok(host: str, message: str) -> None:
    answer = check_port(host, 9464)
    assert answer.result == "not ok"
    assert message in answer.message


def test_trying_a_port_that_is_taken_raises() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortError):
        try_port("127.0.0.1", other.getsockname()[1])
