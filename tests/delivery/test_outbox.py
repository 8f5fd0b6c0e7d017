"""The outbox keeps what it is given until it is delivered, in order, and never makes its user wait."""

import contextlib
import json
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sinks.base import Sink
from monitor.delivery.sinks.memory import MemorySink
from monitor.delivery.sinks.redis import RedisSink
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.errors import DeliveryError
from monitor.events.messages import NoticeMessage, OutboxMessage
from monitor.records import CameraStateChange
from tests.support.events import BEGIN, make_parcel
from tests.support.redis_servers import wait_until

DOWN = DeliveryError("away for the test")


@contextmanager
def outbox_to(sink: Sink, **options: Any) -> Iterator[Outbox]:
    outbox = Outbox(sink, **({"initial_backoff": 0.01, "max_backoff": 0.05} | options))
    try:
        yield outbox
    finally:
        outbox.close()


class BlockingSink:
    """A sink that holds each delivery until it is let through."""

    def __init__(self) -> None:
        self.kept = MemorySink()
        self.entered, self.open = threading.Event(), threading.Event()

    def deliver(self, items: Sequence[OutboxMessage]) -> int:
        self.entered.set()
        assert self.open.wait(20)
        return self.kept.deliver(items)

    def withheld(self) -> Counter[str]:
        return self.kept.withheld()

    def close(self) -> None: ...


def numbers(sink: MemorySink) -> list[int]:
    return [int(parcel.id.rsplit("-", 1)[1]) for parcel in sink.parcels]


def test_everything_put_in_comes_out_in_order() -> None:
    sink = MemorySink()
    with outbox_to(sink) as outbox:
        for number in range(200):
            outbox.put(make_parcel(number))
        assert outbox.flush(10) == 0
    assert numbers(sink) == list(range(200))


def test_notices_go_the_same_way_in_the_same_order() -> None:
    order: list[str] = []
    change = NoticeMessage.of(CameraStateChange("top", "down", BEGIN))
    with outbox_to(MemorySink(), on_delivered=lambda item, _: order.append(item.id)) as outbox:
        items = [make_parcel(0), change, make_parcel(1)]
        for item in items:
            outbox.put(item)
        assert outbox.flush(10) == 0
        assert order == [item.id for item in items]


def test_put_does_not_wait_for_a_delivery_under_way() -> None:
    gate = BlockingSink()
    with outbox_to(gate) as outbox:
        outbox.put(make_parcel(0))
        assert gate.entered.wait(10)
        for number in range(1, 50):
            outbox.put(make_parcel(number))  # were it to wait, it would wait for ever
        assert outbox.stats().events == 50
        gate.open.set()
        assert outbox.flush(10) == 0
    assert numbers(gate.kept) == list(range(50))


def test_what_cannot_be_delivered_is_kept_and_sent_later() -> None:
    sink = MemorySink()
    sink.failure = DOWN
    with outbox_to(sink) as outbox:
        for number in range(40):
            outbox.put(make_parcel(number))
        assert outbox.flush(0.2) == 40
        sink.failure = None
        assert outbox.flush(10) == 0
    assert numbers(sink) == list(range(40))


def test_a_partial_delivery_is_taken_up_where_it_stopped() -> None:
    class OneByOne(MemorySink):
        def deliver(self, items: Sequence[OutboxMessage]) -> int:
            return super().deliver(items[:1])

    sink = OneByOne()
    sink.failure = DOWN
    with outbox_to(sink) as outbox:
        for number in range(10):
            outbox.put(make_parcel(number))
        wait_until(lambda: outbox.stats().connected is False)
        sink.failure = None
        assert outbox.flush(10) == 0
    assert numbers(sink) == list(range(10))


def test_state_is_told_at_each_change_only(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[bool, str | None]] = []
    sink = MemorySink()
    with outbox_to(sink, on_connection_change=lambda up, why: told.append((up, why))) as outbox:
        assert outbox.stats().connected is None
        for failure in (None, DOWN, None):
            sink.failure = failure
            outbox.put(make_parcel(len(told)))
            assert outbox.flush(0.3) == (0 if failure is None else 1)
            assert outbox.stats().connected is (failure is None)
    assert told == [(True, None), (False, "away for the test"), (True, None)]
    assert sum("away for the test" in message for message in caplog.messages) == 1


def test_the_pause_doubles_up_to_the_longest_and_is_the_longest_at_once_for_what_stays_wrong() -> None:
    with outbox_to(MemorySink(), initial_backoff=1.0, max_backoff=10.0, jitter=lambda: 0.0) as outbox:
        assert [outbox._wait(n, False) for n in (1, 2, 3, 4, 5, 5000)] == [1, 2, 4, 8, 10, 10]
        assert outbox._wait(1, True) == 10
    with outbox_to(MemorySink(), initial_backoff=1.0, max_backoff=10.0, jitter=lambda: 1.0) as outbox:
        assert outbox._wait(3, False) == 2


def test_draining_does_not_sit_out_a_long_pause() -> None:
    sink = MemorySink()
    sink.failure = DeliveryError("locked for the test", permanent=True)
    with outbox_to(sink, max_backoff=600.0) as outbox:
        outbox.put(make_parcel())
        wait_until(lambda: outbox.stats().connected is False)
        sink.failure = None
        assert outbox.flush(10) == 0


def test_seconds_count_from_the_moment_given() -> None:
    seconds: list[float] = []
    told = threading.Event()

    def note(_: OutboxMessage, took: float) -> None:
        seconds.append(took)
        told.set()

    with outbox_to(MemorySink(), on_delivered=note, clock=lambda: 107.5) as outbox:
        outbox.put(make_parcel(), began=100.0)
        assert told.wait(10)
    assert seconds == [7.5]


def test_the_oldest_tells_its_age() -> None:
    gate = BlockingSink()
    with outbox_to(gate, clock=lambda: 60.0) as outbox:
        assert outbox.stats().oldest_seconds == 0
        outbox.put(make_parcel(0), began=20.0)
        outbox.put(make_parcel(1), began=50.0)
        assert outbox.stats().oldest_seconds == 40
        assert outbox.stats().bytes == make_parcel(0).size + make_parcel(1).size
        gate.open.set()


def test_what_does_not_fit_is_counted_logged_once_and_told_to_subscribers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = MemorySink()
    sink.failure = DOWN
    with outbox_to(sink, max_events=20) as outbox:
        wait_until(lambda: outbox.put(make_parcel(0)) or outbox.stats().connected is False)
        waiting = outbox.stats().events
        for number in range(1, 100):
            outbox.put(make_parcel(number))
        assert outbox.stats().events == 20
        shed = outbox.stats().shed_events
        assert shed == waiting + 99 - 20
        sink.failure = None
        assert outbox.flush(10) == 0
        assert outbox.stats().shed_events == shed
    (notice,) = sink.notices
    fields = dict(notice.fields)
    assert (fields["kind"], fields["camera"], fields["events"]) == ("shed", "top", str(shed))
    assert sum("outbox is full" in message for message in caplog.messages) == 1
    assert sum("given up (outbox-full)" in message for message in caplog.messages) == 1


def test_pictures_go_first_and_their_events_still_arrive() -> None:
    sink = MemorySink()
    sink.failure = DOWN
    parcels = [make_parcel(number) for number in range(8)]
    room = sum(parcel.size for parcel in parcels) - 2 * parcels[0].image_bytes
    store = OutboxQueue(1000, room)
    for parcel in parcels:
        store.append(parcel, 0.0)
    with outbox_to(sink, store=store) as outbox:
        sink.failure = None
        assert outbox.flush(10) == 0
    assert numbers(sink) == list(range(8))
    bare = [parcel.annotated_jpeg is None for parcel in sink.parcels]
    assert bare == sorted(bare, reverse=True)
    assert 2 <= sum(bare) < 8
    for parcel in sink.parcels:
        assert (json.loads(parcel.document)["image"]["frame_key"] is None) == (parcel.annotated_jpeg is None)


def test_a_fault_in_a_listener_or_sink_does_not_end_deliveries(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(MemorySink):
        calls = 0

        def deliver(self, items: Sequence[OutboxMessage]) -> int:
            self.calls += 1
            if self.calls == 1:
                raise KeyError("a bug")
            return super().deliver(items)

    def listener(*_: object) -> None:
        raise ZeroDivisionError("another")

    sink = Faulty()
    with outbox_to(sink, on_delivered=listener, on_connection_change=listener) as outbox:
        outbox.put(make_parcel(0))
        assert outbox.flush(10) == 0
        outbox.put(make_parcel(1))
        assert outbox.flush(10) == 0
    assert numbers(sink) == [0, 1]
    assert any("unforeseen" in message for message in caplog.messages)


def test_closing_does_not_wait_for_the_next_try_and_says_what_is_left() -> None:
    sink = MemorySink()
    sink.failure = DOWN
    outbox = Outbox(sink, initial_backoff=600.0, max_backoff=600.0)
    outbox.put(make_parcel())
    wait_until(lambda: outbox.stats().connected is False)
    assert outbox.close(10) == 1
    assert not outbox._thread.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        outbox.put(make_parcel())


def test_a_server_away_and_back_has_everything_once(make_server: Callable[..., Any]) -> None:
    server = make_server()
    delivered: list[str] = []
    with outbox_to(
        RedisSink(server.url, timeout=1.0), on_delivered=lambda item, _: delivered.append(item.id)
    ) as outbox:
        outbox.put(make_parcel(0))
        assert outbox.flush(10) == 0
        server.stop()
        for number in range(1, 100):
            outbox.put(make_parcel(number))
        wait_until(lambda: outbox.stats().connected is False)
        assert outbox.stats().events == 99
        server.start()
        assert outbox.flush(20) == 0
    with server.client() as client:
        ids = [fields[b"id"].decode() for _, fields in client.xrange("defects:events")]
    assert ids == [make_parcel(number).id for number in range(1, 100)]
    assert delivered == [make_parcel(number).id for number in range(100)]


def test_a_paused_server_gets_everything_once_when_it_goes_on(make_server: Callable[..., Any]) -> None:
    server = make_server()
    with outbox_to(RedisSink(server.url, timeout=0.2)) as outbox:
        outbox.put(make_parcel(0))
        assert outbox.flush(10) == 0
        server.signal(signal.SIGSTOP)
        begun = time.monotonic()
        for number in range(1, 60):
            outbox.put(make_parcel(number))
        wait_until(lambda: outbox.stats().connected is False)
        # The paused server holds commands whose sender has given up on them: they are carried out when it
        # goes on, and come again.
        wait_until(lambda: time.monotonic() - begun > 1.5)
        server.signal(signal.SIGCONT)
        assert outbox.flush(20) == 0
    with server.client() as client:
        ids = [fields[b"id"].decode() for _, fields in client.xrange("defects:events")]
        pictures = [client.get(f"defects:frame:{identity}") for identity in ids]
    assert ids == [make_parcel(number).id for number in range(60)]
    assert pictures == [make_parcel(number).annotated_jpeg for number in range(60)]


def test_what_waited_too_long_is_given_up_and_said() -> None:
    now = [0.0]
    sink = MemorySink()
    sink.failure = DOWN
    with outbox_to(sink, max_age=100.0, clock=lambda: now[0]) as outbox:
        outbox.put(make_parcel(0))
        wait_until(lambda: outbox.stats().connected is False)
        now[0] = 150.0
        outbox.put(make_parcel(1))
        wait_until(lambda: outbox.stats().shed_events == 1)
        sink.failure = None
        assert outbox.flush(10) == 0
    assert numbers(sink) == [1]
    (notice,) = sink.notices
    assert dict(notice.fields)["cause"] == "outbox-too-old"


def test_what_a_damaged_file_lost_is_said(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    sink = MemorySink()
    sink.failure = DOWN
    shelf = SqliteStorage(path)
    with outbox_to(sink, store=OutboxQueue(100, 10**9, shelf)) as outbox:
        for number in range(3):
            outbox.put(make_parcel(number))
        outbox.flush(0.05)
    shelf.close()
    with contextlib.closing(sqlite3.connect(path)) as file:  # else the log's own copy would mend the damage
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # Each copy: a page that was split leaves an old one behind, and damage to that alone is none.
    name = make_parcel(1).id.encode()
    path.write_bytes(path.read_bytes().replace(name, b"x" + name[1:]))
    sink.failure = None
    with outbox_to(sink, store=OutboxQueue(100, 10**9, SqliteStorage(path))) as outbox:
        assert outbox.flush(10) == 0
    assert numbers(sink) == [0, 2]
    (notice,) = sink.notices
    assert {**dict(notice.fields), "from": "", "to": ""} == {
        **{"kind": "shed", "camera": "*", "pictures": "0", "events": "1", "notices": "0"},
        **{"from": "", "to": "", "cause": "outbox-damaged"},
    }


def test_what_did_not_fit_is_said_after_a_restart_too(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    sink = MemorySink()
    sink.failure = DOWN
    with outbox_to(sink, store=OutboxQueue(10, 10**9, SqliteStorage(path))) as outbox:
        for number in range(30):
            outbox.put(make_parcel(number))
        outbox.flush(0.05)
        lost = outbox.stats().shed_events
    sink.failure = None
    with outbox_to(sink, store=OutboxQueue(100, 10**9, SqliteStorage(path))) as outbox:
        assert outbox.flush(10) == 0
    assert lost >= 20
    kept = 30 - len(sink.parcels)
    assert sum(int(dict(notice.fields)["events"]) for notice in sink.notices) == lost
    assert kept - lost in (0, 1)  # the notice itself takes the place of one more


def test_events_that_went_without_their_pictures_are_said_but_not_counted_as_given_up(valkey: str) -> None:
    sink = RedisSink(valkey, picture_bytes=10)
    with outbox_to(sink) as outbox:
        for number in range(3):
            outbox.put(make_parcel(number))
        assert outbox.flush(10) == 0
        assert outbox.stats().shed_pictures == 0
    assert sink.image_ledger.withheld == {"too-large": 3}
    with redis.Redis.from_url(valkey, protocol=2) as client:
        told = [fields for _, fields in client.xrange("defects:coverage")]
    assert sum(int(fields[b"pictures"]) for fields in told) == 3
    assert {(fields[b"kind"], fields[b"cause"]) for fields in told} == {(b"shed", b"picture-withheld")}
