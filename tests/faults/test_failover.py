"""No event is lost and none comes twice when another server takes over."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from monitor.delivery.outbox import Outbox
from tests.support.camera_faults import FULL_RUN
from tests.support.event_producer import DURABLE_REDIS, Line, outbox_on_disk
from tests.support.events import outcome
from tests.support.fault_tables import Record
from tests.support.redis_cluster import PREFIX, Cluster
from tests.support.redis_servers import SentinelProcess, wait_until

pytestmark = pytest.mark.skipif(
    not FULL_RUN, reason="half a minute of elections each: a part of make faults alone"
)
COUNT = 5


def test_failovers_by_sentinels(
    make_server: Callable[..., Any], program: Path, path: Path, record: Record
) -> None:
    """With a replica waited for, whoever is primary next has all that was acknowledged."""
    primary = make_server(*DURABLE_REDIS, "--appenddirname", "primary")
    follow = ("--replicaof", f"127.0.0.1 {primary.port}")
    servers = [
        primary,
        *(make_server(*DURABLE_REDIS, "--appenddirname", name, *follow) for name in ("second", "third")),
    ]
    watcher = SentinelProcess(path.parent, program, primary.port)
    watcher.start()
    with watcher.client(decode_responses=True) as client:

        def port_now() -> int:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "line")[1])

        def whole() -> bool:
            replicas = client.execute_command("SENTINEL", "REPLICAS", "line")
            return (
                sum("master-link-status" in it and "ok" in it and "s_down" not in str(it) for it in replicas)
                == 2
            )

        def fail_over() -> None:
            before = port_now()
            (gone,) = [server for server in servers if server.port == before]
            gone.stop()
            wait_until(lambda: port_now() != before, 40)
            gone.start()
            wait_until(whole, 60)

        wait_until(whole, 30)
        url = f"redis+sentinel://127.0.0.1:{watcher.port}/line/0"
        with outbox_on_disk(path, url, replicas=1, timeout=1.0) as outbox:
            found = found_through(outbox, fail_over)
        port = port_now()
    watcher.stop()
    with redis.Redis(port=port, protocol=2) as client:
        seen = outcome(client, found)
    record(f"{COUNT} failovers by Sentinel, primary killed, `replicas = 1`", seen)
    assert seen.flawless, seen


def test_failovers_of_a_cluster(make_server: Callable[..., Any], path: Path, record: Record) -> None:
    cluster = Cluster(make_server)

    def fail_over() -> None:
        cluster.kill_primary().start()
        wait_until(cluster.whole, 60)

    with outbox_on_disk(path, cluster.url, PREFIX, replicas=1, timeout=1.0) as outbox:
        found = found_through(outbox, fail_over)
    with cluster.primary().client() as client:
        seen = outcome(client, found, PREFIX)
    record(f"{COUNT} failovers in a cluster of 3 primaries, node of the keys killed, `replicas = 1`", seen)
    assert seen.flawless, seen


def test_four_lines_share_a_cluster_through_a_failover(
    make_server: Callable[..., Any], path: Path, record: Record
) -> None:
    """Their prefixes lie on all three primaries; the node of two lines, which have a replica, is killed."""
    cluster = Cluster(make_server)
    prefixes = ["{line1}", "{line2}", "{line3}", "{line4}"]
    assert {cluster.index_of(prefix) for prefix in prefixes} == {0, 1, 2}
    with ExitStack() as stack:
        lines = {}
        for number, prefix in enumerate(prefixes):
            options = {"replicas": int(cluster.index_of(prefix) == 1), "timeout": 1.0}
            file = path.with_name(f"outbox-{number}.db")
            outbox = stack.enter_context(outbox_on_disk(file, cluster.url, prefix, **options))
            lines[prefix] = outbox, stack.enter_context(Line(outbox, 20, f"camera-{number}"))
        time.sleep(1)
        cluster.kill_primary().start()
        wait_until(cluster.whole, 60)
        for outbox, line in lines.values():
            line.__exit__()
            assert outbox.flush(60) == 0
    for prefix, (_, line) in lines.items():
        server = cluster.primary() if (index := cluster.index_of(prefix)) == 1 else cluster.servers[index]
        with server.client() as client:
            seen = outcome(client, line.found, prefix)
        record(f"1 failover in a cluster of 3 primaries and 4 lines: the line {prefix}", seen)
        assert seen.flawless, (prefix, seen)


def found_through(outbox: Outbox, fail_over: Callable[[], None]) -> list[str]:
    """A steady line, so many failovers under it; what was found, all of it delivered."""
    with Line(outbox, 50) as line:
        for _ in range(COUNT):
            time.sleep(0.5)
            fail_over()
    assert outbox.flush(60) == 0
    return line.found
