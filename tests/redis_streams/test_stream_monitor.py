"""The lag of consumer groups, on every server that there is."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitor.redis_streams.stream_monitor import StreamMonitor
from monitor.telemetry.stream_metrics import GroupBacklog, StreamBacklog, StreamBacklogCollector
from tests.support.redis_servers import SERVERS, make_server, program, wait_until

__all__ = ["make_server", "program"]
EVENTS = "defects:events"


def measure(url: str) -> StreamBacklog:
    with closing(StreamMonitor(url, "defects", 1000)) as monitor:
        return monitor.measure()


def only_group(url: str) -> GroupBacklog:
    (group,) = measure(url).groups
    return group


def add(client: Any, count: int, age: float = 0.0) -> None:
    seconds, _ = client.time()
    for number in range(count):
        client.xadd(EVENTS, {"event": "{}"}, id=f"{int((seconds - age) * 1000)}-{number + 1}")


@pytest.mark.parametrize("program", SERVERS, indirect=True)
def test_lag_pending_and_age_on_every_server(
    make_server: Callable[..., Any], program: Path, request: pytest.FixtureRequest
) -> None:
    server = make_server()
    assert measure(server.url) == StreamBacklog(0, 1000, 0.0, [])
    with server.client() as client:
        add(client, 4, age=600)
        add(client, 2, age=60)
        client.xgroup_create(EVENTS, "g", id="0")
        has_lag = "redis-6.2" not in request.node.name

        stream = measure(server.url)
        assert (stream.entries, stream.max_entries) == (6, 1000)
        assert 600 <= stream.oldest_seconds < 630
        group = only_group(server.url)
        assert (group.group, group.lag, group.pending) == ("g", 6 if has_lag else None, 0)
        assert group.oldest_seconds >= 600
        assert not group.has_missed

        reply = client.xreadgroup("g", "c", {EVENTS: ">"}, count=4)
        for entry, _ in reply[0][1][1:]:
            client.xack(EVENTS, "g", entry)
        group = only_group(server.url)  # one of the four is still being worked on
        assert (group.lag, group.pending) == (2 if has_lag else None, 1)
        assert group.oldest_seconds >= 600

        client.xack(EVENTS, "g", reply[0][1][0][0])
        assert 60 <= only_group(server.url).oldest_seconds < 90
        for entry, _ in client.xreadgroup("g", "c", {EVENTS: ">"})[0][1]:
            client.xack(EVENTS, "g", entry)
        group = only_group(server.url)
        assert (group.lag, group.pending, group.oldest_seconds) == (0 if has_lag else None, 0, 0.0)


def test_entries_that_were_trimmed_away_unread_or_unacknowledged_are_missed(valkey: str, client: Any) -> None:
    add(client, 3, age=100)
    client.xgroup_create(EVENTS, "unread", id="0")
    client.xgroup_create(EVENTS, "unacknowledged", id="0")
    client.xreadgroup("unread", "c", {EVENTS: ">"}, count=1)
    client.xreadgroup("unacknowledged", "c", {EVENTS: ">"})
    client.xack(EVENTS, "unread", *[entry for entry, _ in client.xrange(EVENTS, count=1)])
    assert not any(group.has_missed for group in measure(valkey).groups)
    add(client, 1)
    client.xtrim(EVENTS, maxlen=1, approximate=False)
    assert all(group.has_missed for group in measure(valkey).groups)


def test_an_outage_shows_no_figures_and_ends(make_server: Callable[..., Any]) -> None:
    server = make_server()
    monitor = StreamMonitor(server.url, "defects", 10, interval=0.05, timeout=0.5)
    registry = CollectorRegistry()
    StreamBacklogCollector(registry, lambda: monitor.latest)
    with server.client() as client:
        add(client, 1)
        client.xgroup_create(EVENTS, "g", id="0")

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"defect_monitor_{name}", labels)

    assert sample("stream_events") is None
    monitor.thread.start()
    try:
        wait_until(lambda: sample("consumer_lag_events", group="g") == 1)
        assert (sample("stream_events"), sample("stream_max_events")) == (1, 10)
        assert sample("consumer_missed", group="g") == sample("consumer_pending_events", group="g") == 0
        server.stop()
        wait_until(lambda: sample("stream_events") is None)
        server.start()
        with server.client() as client:
            add(client, 1)
            client.xgroup_create(EVENTS, "other", id="$")
        wait_until(lambda: sample("consumer_lag_events", group="other") == 0)
        assert sample("consumer_lag_events", group="g") is None  # it went with the server's memory
    finally:
        monitor.close()
        monitor.thread.join(5)
    assert not monitor.thread.is_alive()


def test_a_missing_right_is_logged_once_and_measured_again_once_it_is_given(
    valkey: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client.execute_command("ACL", "SETUSER", "line", "on", ">pw", "~*", "-@all", "+client", "+time")
    with closing(StreamMonitor(valkey.replace("//", "//line:pw@"), "defects", 10, interval=0.02)) as monitor:
        monitor.thread.start()
        try:
            wait_until(lambda: "the lag of consumers is not measured" in caplog.text)
            time.sleep(0.2)
            assert caplog.text.count("the lag of consumers is not measured") == 1
            client.execute_command("ACL", "SETUSER", "line", "+xlen", "+xrange", "+xinfo|groups")
            wait_until(lambda: monitor.latest is not None)
        finally:
            client.execute_command("ACL", "DELUSER", "line")
