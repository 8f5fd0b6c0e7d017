"""Messages that a sink never takes, clock steps and a hanging disk lose nothing else and hold up nobody."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.delivery import sqlite_file
from monitor.delivery.clock import AgeClock
from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sender import SinkSender
from monitor.delivery.sinks.redis import RedisSink
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.events.messages import EventMessage
from tests.support.event_producer import Times, outbox_on_disk
from tests.support.events import make_message, outcome
from tests.support.fault_tables import Record


def test_events_that_redis_can_never_take(
    make_server: Callable[..., Any], path: Path, times: Times, record: Record
) -> None:
    """Their document cannot be encoded, as once with a file name that is no UTF-8."""
    count, every = times(60, 1000), 20
    server = make_server()
    good: list[str] = []
    with outbox_on_disk(path, server.url) as outbox:
        for number in range(count):
            message = make_message(number)
            if number % every == every // 2:
                message = EventMessage(
                    message.id, "top", "\udcff", message.captured_at, message.annotated_jpeg
                )
            else:
                good.append(message.id)
            outbox.put(message)
        assert outbox.flush(120) == 0
        assert outbox.stats().set_aside == {"redis": count // every}
    with server.client() as client:
        seen = outcome(client, good)
        reports = [fields for _, fields in client.xrange("defects:coverage")]
    assert sum(int(fields[b"events"]) for fields in reports) == count // every
    record(f"{count // every} events among {count} that Redis can never take (counted: the others)", seen)
    assert seen.flawless, seen


@pytest.mark.parametrize("step", [30 * 86_400, -30 * 86_400])
def test_a_clock_step_while_events_are_queued(
    make_server: Callable[..., Any], path: Path, record: Record, step: int
) -> None:
    server = make_server()
    wall = [time.time()]

    def outbox() -> Outbox:
        clock = AgeClock(wall=lambda: wall[0], is_synchronised=lambda: True)
        queue = OutboxQueue(
            ["redis"], max_bytes=10**9, storage=SqliteStorage(path, sync="process"), age_clock=clock
        )
        return Outbox(queue, [SinkSender(RedisSink(server.url, picture_bytes=10**9), queue)])

    before = outbox()
    found = [make_message(number).id for number in range(100)]
    for number in range(100):
        before.put(make_message(number))
    before.close()
    wall[0] += step
    after = outbox()
    after.start()
    assert after.flush(30) == 0
    after.close()
    with server.client() as client:
        seen = outcome(client, found)
    record(f"clock stepped by {step // 86_400:+d} days while 100 events were queued", seen)
    assert seen.flawless, seen


def test_a_disk_that_hangs(
    make_server: Callable[..., Any], path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events go on to Redis from memory; putting, statistics and sending wait for nothing."""
    server = make_server()
    released, write = threading.Event(), sqlite_file.write

    def hang(*arguments: Any) -> None:
        assert released.wait(60)
        write(*arguments)

    monkeypatch.setattr(sqlite_file, "write", hang)
    found: list[str] = []
    with outbox_on_disk(path, server.url) as outbox:
        slowest = 0.0
        for number in range(300):
            began = time.monotonic()
            found.append(make_message(number).id)
            outbox.put(make_message(number))
            outbox.stats()
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.01)
        assert outbox.flush(20) == 0
        assert not outbox.stats().durable
        assert any("the disk has not answered" in problem for problem in outbox.problems())
        released.set()
    assert slowest < 1.0
    with server.client() as client:
        seen = outcome(client, found)
    record("disk of the outbox hangs for 3 s and more", seen)
    assert seen.flawless, seen
