"""How fast the outbox and Redis take events, beside their limits, and that verdicts wait for neither.

Figures mean something on an idle machine alone; they go to build/pace.md.
"""

import os
import re
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sender import SinkSender
from monitor.delivery.sinks.redis import RedisSink
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.events.messages import EventMessage
from tests.support.camera_faults import FULL_RUN
from tests.support.daemon_process import DaemonUnderTest, free_port, run_daemon, wait_for, write_config
from tests.support.events import deliver, make_message
from tests.support.fault_tables import TABLE

pytestmark = [
    pytest.mark.skipif(
        not FULL_RUN, reason="figures of a busy machine say nothing: a part of make faults alone"
    ),
    pytest.mark.timeout(1200),
]
PACE = TABLE.with_name("pace.md")


@pytest.fixture(scope="module")
def say() -> Iterator[Callable[[str], None]]:
    lines: list[str] = []
    yield lines.append
    PACE.parent.mkdir(exist_ok=True)
    PACE.write_text("\n".join(lines) + "\n")


def share(seconds: Sequence[float], part: float) -> float:
    """The quantile in milliseconds."""
    return sorted(seconds)[min(len(seconds) - 1, int(part * len(seconds)))] * 1000


def timed(do: Callable[[], object]) -> float:
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def test_what_an_event_costs_on_this_disk(path: Path, say: Callable[[str], None]) -> None:
    """Each event is written to the outbox, and the same bytes to a file, new and one to overwrite."""
    queue = OutboxQueue(
        ["redis"], max_items=100_000, max_bytes=10**9, storage=SqliteStorage(path, sync="power")
    )
    new = os.open(path.with_name("new"), os.O_WRONLY | os.O_CREAT)
    old = os.open(path.with_name("old"), os.O_WRONLY | os.O_CREAT)
    os.pwrite(old, bytes(64_000_000), 0)
    os.fsync(old)
    took: dict[str, list[float]] = {"outbox": [], "file that grows": [], "file overwritten": []}
    for number in range(1000):
        parcel = make_message(number)
        data = parcel.document.encode() + (parcel.annotated_jpeg or b"")
        took["outbox"].append(timed(lambda parcel=parcel: (queue.append(parcel), queue.commit())))
        for name, file in (("file that grows", new), ("file overwritten", old)):
            place = number * len(data)
            took[name].append(timed(lambda f=file, d=data, p=place: (os.pwrite(f, d, p), os.fdatasync(f))))
        if number % 20 == 19:  # as while Redis takes them
            queue.acknowledge("redis", queue.next_batch("redis", 20, 10**9)[-1].key)
        time.sleep(0.02)
    queue.storage.close()
    for file in (new, old):
        os.close(file)
    say(
        "| 1000 events of 21 kB, each safe from a power cut | p50 ms | p99 ms | worst |\n|---|---:|---:|---:|"
    )
    for name, seconds in took.items():
        say(f"| {name} | {share(seconds, 0.5):.2f} | {share(seconds, 0.99):.2f} | {share(seconds, 1):.1f} |")


def test_publishing_is_at_least_half_as_fast_as_bare_commands(
    make_server: Callable[..., Any], path: Path, say: Callable[[str], None]
) -> None:
    count, batch = 1920, 32
    server = make_server()
    sink = RedisSink(server.url, picture_bytes=10**9)
    with server.client() as client:

        def bare(parcels: Sequence[EventMessage]) -> None:
            for begin in range(0, count, batch):
                with client.pipeline(transaction=False) as pipeline:
                    for it in parcels[begin : begin + batch]:
                        fields = {"id": it.id, "camera": it.camera, "event": it.document}
                        pipeline.xadd("defects:events", fields, maxlen=10_000, approximate=True)
                        pipeline.set(f"defects:frame:{it.id}", it.annotated_jpeg, ex=86_400)
                    pipeline.execute()

        def script(parcels: Sequence[EventMessage]) -> None:
            for begin in range(0, count, batch):
                assert deliver(sink, parcels[begin : begin + batch], f"run-{time.monotonic()}") == batch

        def outbox(parcels: Sequence[EventMessage]) -> None:
            backlog = Outbox(stored, [SinkSender(sink, stored)])
            backlog.start()
            assert backlog.flush(60) == 0
            backlog.close()

        rates: dict[str, list[float]] = {
            "bare XADD and SET, pipelined": [],
            "the script": [],
            "outbox on disk": [],
        }
        for turn in range(5):
            parcels = [make_message(count * turn + number) for number in range(count)]
            storage = SqliteStorage(path.with_name(f"{turn}.db"), sync="process")
            stored = OutboxQueue(["redis"], max_items=100_000, max_bytes=10**9, storage=storage)
            for parcel in parcels:
                stored.append(parcel)
            stored.commit()
            for name, way in zip(rates, (bare, script, outbox), strict=True):
                client.flushall()
                rates[name].append(count / timed(lambda way=way, parcels=parcels: way(parcels)))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    slowest = next(iter(middle.values()))
    say("\n| events of 21 kB a second, in fives | median | to bare |\n|---|---:|---:|")
    for name, rate in middle.items():
        say(f"| {name} | {rate:.0f} | {rate / slowest:.2f} |")
    assert middle["the script"] >= 0.5 * slowest


def test_verdicts_do_not_wait_for_redis(
    make_server: Callable[..., Any], tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Verdicts' latency while Redis answers, is paused, is gone, and answers again: a minute each."""
    server, port = make_server(), free_port()
    camera = '[[camera]]\nname = "c"\nsource = "simulate:?seed=5&defect_rate=0.05"\nfps = 10\n'
    more = f'[outbox]\npath = "{tmp_path}/state/outbox.db"\n'
    config = write_config(tmp_path, camera, url=server.url, port=port, more=more)
    say("\n| capture to verdict, 10 frames a second | p50 ms | p99 ms | mean |\n|---|---:|---:|---:|")
    with run_daemon(config, port) as daemon:
        wait_for(
            lambda: daemon.metric('defect_monitor_frames_total{camera="c",outcome="defect"}') > 2, 300, daemon
        )
        for name, change in (
            ("Redis answers", lambda: None),
            ("Redis is paused", lambda: server.signal(signal.SIGSTOP)),
            ("Redis is gone", server.stop),
            ("Redis answers again", server.start),
        ):
            change()
            before, sum_before = verdicts(daemon)
            time.sleep(60)
            after, sum_after = verdicts(daemon)
            counts = {edge: after[edge] - before[edge] for edge in after}
            mean = (sum_after - sum_before) / counts[float("inf")] * 1000
            say(f"| {name} | {quantile(counts, 0.5):.0f} | {quantile(counts, 0.99):.0f} | {mean:.0f} |")
            assert counts[float("inf")] > 300
        assert daemon.stop(15) == 0


def verdicts(daemon: DaemonUnderTest) -> tuple[dict[float, float], float]:
    """Frames classified within so many seconds, by bucket, and the sum of the seconds."""
    text = daemon.get("/metrics")[1]
    name = "defect_monitor_verdict_seconds"
    edges = re.findall(rf'^{name}_bucket{{camera="c",le="([^"]+)"}} (\S+)$', text, re.MULTILINE)
    return {float(edge): float(count) for edge, count in edges}, daemon.metric(f"{name}_sum")


def quantile(counts: dict[float, float], part: float) -> float:
    """In milliseconds, read off the buckets as Prometheus does: straight between two edges."""
    wanted, low, below = part * counts[float("inf")], 0.0, 0.0
    for edge, count in sorted(counts.items()):
        if count >= wanted and count > below:
            return 1000 * (low + (edge - low) * (wanted - below) / (count - below))
        low, below = edge, count
    return float("nan")
