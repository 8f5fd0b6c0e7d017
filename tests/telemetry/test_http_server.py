"""Metrics and health over HTTP, as a browser, a probe and a real Prometheus see them."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from http.client import HTTPConnection

import pytest
from prometheus_client import CollectorRegistry

from monitor.errors import PortError
from monitor.telemetry import http_server as http
from monitor.telemetry.http_server import HealthReport, start_http_server
from monitor.telemetry.metrics import Metrics
from tests.support.daemon_process import free_port
from tests.support.redis_servers import wait_until

PROMETHEUS = shutil.which("prometheus")


WELL = HealthReport(True)


@pytest.fixture
def start():
    """`serve` with settings for tests; everything started is closed."""
    servers = []

    def start(host="127.0.0.1", port=0, *, health=lambda: WELL, ready=lambda: WELL, **others):
        registry = others.pop("registry", None) or CollectorRegistry()
        server = start_http_server(host, port, registry=registry, liveness=health, readiness=ready, **others)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


def ask(server, path, method="GET", host="127.0.0.1"):
    connection = HTTPConnection(host, server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_metrics_are_those_of_the_registry(start):
    registry = CollectorRegistry()
    metrics = Metrics(registry, cameras=["a"])
    server = start(registry=registry)
    metrics.on_outcome("a", "clean")
    status, headers, body = ask(server, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert 'defect_monitor_frames_total{camera="a",outcome="clean"} 1.0' in body


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_follows_what_is_reported_and_says_why(start, path):
    state = {"now": HealthReport(True, {"cameras": {"a": "up"}})}
    name = {"/healthz": "health", "/readyz": "ready"}[path]
    server = start(**{name: lambda: state["now"]})
    status, headers, body = ask(server, path)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"ok": True, "cameras": {"a": "up"}}
    state["now"] = HealthReport(False, {"reason": "no camera is up – schön"})
    status, _, body = ask(server, path)
    assert status == 503
    assert json.loads(body) == {"ok": False, "reason": "no camera is up – schön"}


def test_health_and_readiness_are_two_questions(start):
    server = start(health=lambda: WELL, ready=lambda: HealthReport(False))
    assert ask(server, "/healthz")[0] == 200
    assert ask(server, "/readyz")[0] == 503


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/nowhere"])
def test_head_gives_the_status_and_headers_of_get_without_a_body(start, path):
    server = start()

    def answer(method: str) -> tuple[set[bytes], bytes]:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(f"{method} {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = b"".join(iter(lambda: client.recv(65536), b"")).partition(b"\r\n\r\n")
        lines = {line for line in head.split(b"\r\n") if not line.startswith((b"Date", b"Content-Length"))}
        return lines, body

    headers, body = answer("HEAD")
    assert body == b""
    assert headers == answer("GET")[0]


def test_an_unknown_path_is_not_found_and_the_known_ones_are_named(start):
    status, _, body = ask(start(), "/nowhere")
    assert status == 404
    assert "/metrics, /healthz, /readyz" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(start, method):
    status, headers, _ = ask(start(), "/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_another_page_can_be_added(start):
    def page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<p>hello"]

    assert ask(start(routes={"/": page}), "/")[2] == "<p>hello"


def test_a_port_that_is_taken_is_one_clear_error(start):
    taken = start().port
    with pytest.raises(PortError, match=f"port {taken} of 127.0.0.1 for metrics and health is taken"):
        start(port=taken)


@pytest.mark.parametrize(
    ("host", "port", "says"),
    [
        ("192.0.2.1", 0, "not an address of this machine"),
        ("no such host", 0, "no such host"),
        ("127.0.0.1", 70_000, "port 70000 of 127.0.0.1"),
    ],
)
def test_a_place_that_cannot_be_had_is_one_clear_error(start, host, port, says):
    with pytest.raises(PortError, match=says):
        start(host, port)


def test_after_closing_the_port_is_free_again(start):
    first = start()
    first.close()
    assert start(port=first.port).port == first.port


def test_closing_while_an_answer_wakes_the_server_writes_to_no_closed_pipe(start, monkeypatch):
    """The wake-up of an answer has the sockets closed before `close` has written its own."""
    server = start()
    trigger = server._server.trigger
    wake = trigger._physical_pull

    def wake_late():
        wake()
        time.sleep(0.2)
        wake()

    monkeypatch.setattr(trigger, "_physical_pull", wake_late)
    server.close()
    assert not server.is_alive


@pytest.mark.parametrize("host", ["localhost", "::1", "::", "0.0.0.0"])
def test_hosts_of_both_ip_versions_are_served(start, host):
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        server = start(host)
    except PortError as error:
        if ":" in host:
            pytest.skip(f"this machine has no IPv6: {error}")
        raise
    target = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(host, host)
    assert ask(server, "/healthz", host=target)[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HT", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"])
def test_clients_that_fall_silent_delay_nobody_and_are_cut_off(start, monkeypatch, sent):
    assert 0 < http.CLIENT_TIMEOUT < 60
    monkeypatch.setattr(http, "CLIENT_TIMEOUT", 1)
    server = start()
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(30)]
    try:
        for client in clients:
            client.sendall(sent)
        assert ask(server, "/healthz")[0] == 200
        assert [client.recv(100) for client in clients] == [b""] * 30
    finally:
        for client in clients:
            client.close()


def test_a_client_that_does_not_read_its_answer_is_cut_off_and_delays_nobody(start, monkeypatch):
    monkeypatch.setattr(http, "CLIENT_TIMEOUT", 1)

    def page(environ, start_response):
        start_response("200 OK", [("Content-Length", "15000000")])
        return [b"x" * 15_000_000]

    server = start(routes={"/large": page})
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(8)]
    try:
        for client in clients:
            client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        assert ask(server, "/healthz")[0] == 200
        wait_until(lambda: not server._server.active_channels, 60)
        for client in clients:
            received = 0
            try:
                while part := client.recv(1_000_000):
                    received += len(part)
            except ConnectionResetError:
                pass
            assert received < 15_000_000
    finally:
        for client in clients:
            client.close()


def test_the_number_of_threads_is_bounded(start):
    before = threading.active_count()
    server = start()
    for _ in range(3):
        asking = [threading.Thread(target=ask, args=(server, "/healthz")) for _ in range(40)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
    assert threading.active_count() - before <= http.THREADS + 1


def test_a_page_that_takes_its_time_holds_up_nobody(start):
    go_on = threading.Event()

    def slow() -> HealthReport:
        assert go_on.wait(10)
        return WELL

    server = start(health=slow)
    waiting = threading.Thread(target=ask, args=(server, "/healthz"))
    waiting.start()
    try:
        assert ask(server, "/readyz")[0] == 200
        assert waiting.is_alive()
    finally:
        go_on.set()
        waiting.join()


@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (Debian: prometheus)")
def test_a_real_prometheus_scrapes_it(start, tmp_path):
    registry = CollectorRegistry()
    metrics = Metrics(registry, cameras=["a"])
    for seconds in (0.004, 0.012, 0.04, 2.5):
        metrics.on_stage("a", "classify", seconds)
    metrics.dropped("a", "overload", 3)
    server = start(registry=registry)
    (tmp_path / "prometheus.yml").write_text(
        "scrape_configs:\n- job_name: line\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n"
        f"  static_configs:\n  - targets: ['127.0.0.1:{server.port}']\n"
    )
    address = f"127.0.0.1:{free_port()}"
    command = [
        PROMETHEUS,
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address={address}",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:

        def result(query: str) -> list[float]:
            url = f"http://{address}/api/v1/query?query={query}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return [float(series["value"][1]) for series in json.load(answer)["data"]["result"]]

        def wait_for(query: str, expected: list[float]) -> None:
            found: object = None
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    found = result(query)
                except OSError as error:
                    found = error
                if found == expected:
                    return
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            pytest.fail(f"{query} is {found}, not {expected}: {(tmp_path / 'log').read_text()[-2000:]}")

        wait_for("up", [1.0])
        wait_for("defect_monitor_stage_seconds_count{stage='classify'}", [4.0])
        wait_for("defect_monitor_stage_seconds_bucket{stage='classify',le='0.05'}", [3.0])
        wait_for("defect_monitor_frames_total{outcome='dropped'}", [3.0])
    finally:
        process.terminate()
        process.wait(30)
