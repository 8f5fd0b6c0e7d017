"""The outbox keeps what it is given until it is delivered, in order, and never makes its user wait."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sender import SinkSender
from monitor.delivery.sinks.base import DeliveryResult, Sink
from monitor.delivery.sinks.memory import MemorySink
from monitor.delivery.sinks.redis import RedisSink
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.delivery.storage import OutboxEntry
from monitor.errors import DeliveryError
from monitor.events.messages import NoticeMessage, OutboxMessage
from monitor.records import CameraStateChange
from tests.support.events import BEGIN, ImageCounts, make_parcel
from tests.support.redis_servers import wait_until

DOWN = DeliveryError("away for the test")


class Observer:
    """Records what a sender reports."""

    def __init__(self) -> None:
        self.states: list[tuple[bool, str | None]] = []
        self.delivered: list[tuple[str, float]] = []
        self.aside: list[tuple[str, str, str]] = []

    def on_connection_change(self, sink: str, connected: bool, reason: str | None) -> None:
        del sink
        self.states.append((connected, reason))

    def on_delivered(self, sink: str, message: OutboxMessage, seconds: float) -> None:
        del sink
        self.delivered.append((message.id, seconds))

    def on_set_aside(self, sink: str, message: OutboxMessage, reason: str) -> None:
        self.aside.append((sink, message.id, reason))


@contextmanager
def outbox_to(
    *sinks: Sink, observer: Any = None, queue: OutboxQueue | None = None, **options: Any
) -> Iterator[Outbox]:
    queue = OutboxQueue([sink.name for sink in sinks]) if queue is None else queue
    options = {"initial_backoff": 0.01, "max_backoff": 0.05} | options
    outbox = Outbox(queue, [SinkSender(sink, queue, observer, **options) for sink in sinks])
    outbox.start()
    try:
        yield outbox
    finally:
        outbox.close()


class BlockingSink(MemorySink):
    """A sink that hangs in each delivery until it is let through."""

    def __init__(self, name: str = "memory") -> None:
        super().__init__(name)
        self.entered, self.open = threading.Event(), threading.Event()

    def deliver(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
        self.entered.set()
        assert self.open.wait(20)
        return super().deliver(batch)


class RefusingSink(MemorySink):
    """A sink that raises for some messages, whichever batch they are in."""

    def __init__(self, refused: dict[str, Exception], name: str = "memory") -> None:
        super().__init__(name)
        self.refused = refused

    def deliver(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
        for entry in batch:
            if entry.message.id in self.refused:
                raise self.refused[entry.message.id]
        return super().deliver(batch)


def numbers(sink: MemorySink) -> list[int]:
    return [int(event.id.rsplit("-", 1)[1]) for event in sink.events]


def test_everything_put_in_comes_out_in_order() -> None:
    sink = MemorySink()
    with outbox_to(sink) as outbox:
        for number in range(200):
            outbox.put(make_parcel(number))
        assert outbox.flush(10) == 0
    assert numbers(sink) == list(range(200))


def test_notices_go_the_same_way_in_the_same_order() -> None:
    observer = Observer()
    change = NoticeMessage.of(CameraStateChange("top", "down", BEGIN))
    with outbox_to(MemorySink(), observer=observer) as outbox:
        messages = [make_parcel(0), change, make_parcel(1)]
        for message in messages:
            outbox.put(message)
        assert outbox.flush(10) == 0
        assert [identity for identity, _ in observer.delivered] == [message.id for message in messages]


def test_a_sink_that_hangs_and_one_that_fails_for_ever_delay_no_other() -> None:
    hanging, failing, healthy = BlockingSink("hanging"), MemorySink("failing"), MemorySink("healthy")
    failing.failure = DOWN
    with outbox_to(hanging, failing, healthy) as outbox:
        outbox.put(make_parcel(0))
        assert hanging.entered.wait(10)
        began = time.monotonic()
        for number in range(1, 100):
            outbox.put(make_parcel(number))
        assert time.monotonic() - began < 5.0
        wait_until(lambda: len(healthy.events) == 100)
        assert outbox.stats().events == 100
        assert (hanging.events, failing.events) == ([], [])
        hanging.open.set()
        failing.failure = None
        assert outbox.flush(10) == 0
    assert numbers(hanging) == numbers(failing) == numbers(healthy) == list(range(100))


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


def test_a_partial_delivery_is_continued_where_it_stopped() -> None:
    class OneByOne(MemorySink):
        def deliver(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
            return super().deliver(batch[:1])

    sink = OneByOne()
    with outbox_to(sink) as outbox:
        for number in range(10):
            outbox.put(make_parcel(number))
        assert outbox.flush(10) == 0
    assert numbers(sink) == list(range(10))


def test_the_connection_state_is_reported_at_each_change_only(caplog: pytest.LogCaptureFixture) -> None:
    observer, sink = Observer(), MemorySink()
    with outbox_to(sink, observer=observer) as outbox:
        for failure in (None, DOWN, None):
            sink.failure = failure
            outbox.put(make_parcel(len(observer.states)))
            assert outbox.flush(0.3) == (0 if failure is None else 1)
            assert outbox.stats().connected is (failure is None)
            assert outbox.problems() == ([] if failure is None else ["away for the test"])
    assert observer.states == [(True, None), (False, "away for the test"), (True, None)]
    assert sum("away for the test" in message for message in caplog.messages) == 1


def test_a_sink_that_refuses_everyone_is_noticed_before_the_first_message(
    make_server: Callable[..., Any],
) -> None:
    server = make_server("--requirepass", "right")
    sink = RedisSink(server.url.replace("://", "://:wrong@"), timeout=1.0)
    with outbox_to(sink) as outbox:
        wait_until(lambda: outbox.stats().connected is False)
        assert "refuses the user or password" in outbox.problems()[0]
        outbox.put(make_parcel(0))
        with server.client(password="right") as client:
            client.config_set("requirepass", "wrong")
        assert outbox.flush(10) == 0


def test_the_backoff_doubles_to_its_maximum_which_a_permanent_failure_has_at_once() -> None:
    queue = OutboxQueue(["memory"])
    options = {"initial_backoff": 1.0, "max_backoff": 10.0}
    sender = SinkSender(MemorySink(), queue, jitter=lambda: 0.0, **options)  # type: ignore[arg-type]
    assert [sender._backoff(n, False) for n in (1, 2, 3, 4, 5, 5000)] == [1, 2, 4, 8, 10, 10]
    assert sender._backoff(1, True) == 10
    sender = SinkSender(MemorySink(), queue, jitter=lambda: 1.0, **options)  # type: ignore[arg-type]
    assert sender._backoff(3, False) == 2


def test_flushing_does_not_sit_out_a_long_backoff() -> None:
    sink = MemorySink()
    sink.failure = DeliveryError("locked for the test", permanent=True)
    with outbox_to(sink, max_backoff=600.0) as outbox:
        outbox.put(make_parcel())
        wait_until(lambda: outbox.stats().connected is False)
        sink.failure = None
        assert outbox.flush(10) == 0


def test_seconds_count_from_the_moment_given() -> None:
    observer = Observer()
    with outbox_to(MemorySink(), observer=observer) as outbox:
        outbox.put(make_parcel(), time.monotonic() - 7.5)
        assert outbox.flush(10) == 0
    ((_, seconds),) = observer.delivered
    assert 7.5 <= seconds < 17.5


def test_what_does_not_fit_is_counted_logged_once_and_published(caplog: pytest.LogCaptureFixture) -> None:
    sink = MemorySink()
    sink.failure = DOWN
    with outbox_to(sink, queue=OutboxQueue(["memory"], max_items=20)) as outbox:
        for number in range(100):
            outbox.put(make_parcel(number))
        wait_until(lambda: outbox.stats().connected is False)
        assert outbox.stats().events == 20
        assert outbox.stats().shed_events == 80
        sink.failure = None
        assert outbox.flush(10) == 0
    (notice,) = sink.notices
    fields = dict(notice.fields)
    assert (fields["kind"], fields["camera"], fields["events"]) == ("shed", "top", "80")
    dropped = sorted(set(range(100)) - set(numbers(sink)))
    span = [make_parcel(number).captured_at.isoformat() for number in (dropped[0], dropped[-1])]
    assert [fields[end].replace("Z", "+00:00") for end in ("from", "to")] == span
    assert sum("outbox full" in message for message in caplog.messages) == 1


def test_images_go_first_and_their_events_still_arrive() -> None:
    sink = MemorySink()
    messages = [make_parcel(number) for number in range(8)]
    room = sum(message.size for message in messages) - 2 * messages[0].image_bytes
    queue = OutboxQueue(["memory"], max_bytes=room)
    for message in messages:
        queue.append(message)
    with outbox_to(sink, queue=queue) as outbox:
        assert outbox.flush(10) == 0
    assert numbers(sink) == list(range(8))
    bare = [event.annotated_jpeg is None for event in sink.events]
    assert bare == sorted(bare, reverse=True)
    assert 2 <= sum(bare) < 8


def test_a_message_that_a_sink_never_takes_is_set_aside_and_those_behind_it_go_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reason = UnicodeEncodeError("utf-8", "part-\udcff.png", 5, 6, "surrogates not allowed")
    refusing = RefusingSink({make_parcel(3).id: reason}, "refusing")
    other, observer = MemorySink("other"), Observer()
    queue = OutboxQueue(["refusing", "other"], storage=SqliteStorage(tmp_path / "outbox.db"))
    with outbox_to(refusing, other, observer=observer, queue=queue) as outbox:
        for number in range(50):
            outbox.put(make_parcel(number))
        assert outbox.flush(20) == 0
        assert outbox.stats().set_aside == {"refusing": 1, "other": 0}
        assert outbox.stats().shed_events == 0
    assert numbers(refusing) == [number for number in range(50) if number != 3]
    assert numbers(other) == list(range(50))
    ((sink, identity, why),) = observer.aside
    assert (sink, identity) == ("refusing", make_parcel(3).id)
    assert "UnicodeEncodeError" in why
    (notice,) = refusing.notices
    fields = dict(notice.fields)
    assert (fields["cause"], fields["events"], fields["camera"]) == ("outbox-set-aside", "1", "top")
    assert any("set aside" in message for message in caplog.messages)


def test_a_lone_message_is_set_aside_after_many_attempts_while_the_sink_is_healthy() -> None:
    sink = RefusingSink({make_parcel(0).id: ValueError("never")})
    with outbox_to(sink) as outbox:
        outbox.put(make_parcel(0))
        wait_until(lambda: outbox.stats().set_aside["memory"] == 1)
        outbox.put(make_parcel(1))
        assert outbox.flush(10) == 0
    assert numbers(sink) == [1]


def test_a_sink_that_refuses_everything_costs_no_more_than_a_few_messages() -> None:
    """It is the sink that is broken: what it refuses stays in the outbox, and goes out once it works."""

    class Broken(MemorySink):
        works = False

        def deliver(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
            if not self.works:
                raise RuntimeError("a bug in the sink")
            return super().deliver(batch)

    sink = Broken()
    with outbox_to(sink, initial_backoff=0.001, max_backoff=0.002) as outbox:
        for number in range(8):
            outbox.put(make_parcel(number))
        wait_until(lambda: outbox.stats().set_aside["memory"] == 3)
        outbox.flush(1.0)
        assert outbox.stats().set_aside["memory"] == 3
        sink.works = True
        assert outbox.flush(10) == 0
    assert len(sink.events) == 5


EXCEPTIONS = (
    UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
    ValueError("no"),
    KeyError("x"),
    MemoryError(),
    RecursionError(),
    OSError(5, "a file of the sink"),
    Exception(),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    refused=st.dictionaries(st.integers(0, 29), st.sampled_from(EXCEPTIONS), max_size=8),
    outages=st.lists(st.booleans(), max_size=6),
)
def test_any_message_and_any_exception_of_a_sink_leaves_the_others_delivered(
    refused: dict[int, Exception], outages: list[bool]
) -> None:
    class Sometimes(RefusingSink):
        def deliver(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
            if outages and outages.pop():
                raise DOWN
            return super().deliver(batch)

    sink = Sometimes({make_parcel(number).id: error for number, error in refused.items()})
    with outbox_to(sink, initial_backoff=0.001, max_backoff=0.002) as outbox:
        for number in range(31):  # the last is good
            outbox.put(make_parcel(number))
        assert outbox.flush(20) == 0
        assert outbox.stats().set_aside == {"memory": len(refused)}
        assert outbox.stopped_threads() == []
    assert numbers(sink) == [number for number in range(31) if number not in refused]


def test_a_fault_in_an_observer_or_once_in_a_sink_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(MemorySink):
        calls = 0

        def deliver(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
            self.calls += 1
            if self.calls == 1:
                raise KeyError("a bug")
            return super().deliver(batch)

    sink = Faulty()
    with outbox_to(sink) as outbox:
        outbox.put(make_parcel(0))
        outbox.put(make_parcel(1))
        assert outbox.flush(10) == 0
        assert outbox.stats().set_aside == {"memory": 0}
    assert numbers(sink) == [0, 1]
    broken = MemorySink()
    with outbox_to(broken, observer=FaultyObserver()) as outbox:
        outbox.put(make_parcel(0))
        assert outbox.flush(10) == 0
    assert any("an observer of the outbox failed" in message for message in caplog.messages)


class FaultyObserver(Observer):
    def on_delivered(self, sink: str, message: OutboxMessage, seconds: float) -> None:
        raise ZeroDivisionError

    def on_connection_change(self, sink: str, connected: bool, reason: str | None) -> None:
        raise ZeroDivisionError


def test_closing_does_not_wait_for_the_next_attempt_and_returns_what_is_left() -> None:
    sink = MemorySink()
    sink.failure = DOWN
    queue = OutboxQueue(["memory"])
    outbox = Outbox(queue, [SinkSender(sink, queue, initial_backoff=600.0, max_backoff=600.0)])
    outbox.start()
    outbox.put(make_parcel())
    wait_until(lambda: outbox.stats().connected is False)
    assert outbox.close(10) == 1
    assert outbox.unwritten() == 1
    with pytest.raises(RuntimeError, match="closed"):
        outbox.put(make_parcel())


def test_waiting_for_the_disk_ends_with_the_write_or_at_once_where_the_disk_fails(tmp_path: Path) -> None:
    sink = MemorySink()
    sink.failure = DOWN
    queue = OutboxQueue(["memory"], storage=SqliteStorage(tmp_path / "outbox.db"))
    with outbox_to(sink, queue=queue) as outbox:
        assert outbox.wait_until_stored(outbox.put(make_parcel()), 10)
        assert outbox.unwritten() == 0
    (tmp_path / "file").write_text("no folder")
    queue = OutboxQueue(["memory"], storage=SqliteStorage(tmp_path / "file" / "outbox.db"))
    with outbox_to(sink, queue=queue) as outbox:
        began = time.monotonic()
        assert not outbox.wait_until_stored(outbox.put(make_parcel()), 30)
        assert time.monotonic() - began < 10


def test_a_server_away_and_back_has_everything_once(make_server: Callable[..., Any]) -> None:
    server, observer = make_server(), Observer()
    with outbox_to(RedisSink(server.url, timeout=1.0), observer=observer) as outbox:
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
    assert [identity for identity, _ in observer.delivered] == [
        make_parcel(number).id for number in range(100)
    ]


def test_a_paused_server_gets_everything_once_when_it_goes_on(make_server: Callable[..., Any]) -> None:
    server = make_server()
    with outbox_to(RedisSink(server.url, timeout=0.2)) as outbox:
        outbox.put(make_parcel(0))
        assert outbox.flush(10) == 0
        server.signal(signal.SIGSTOP)
        began = time.monotonic()
        for number in range(1, 60):
            outbox.put(make_parcel(number))
        wait_until(lambda: outbox.stats().connected is False)
        # The paused server holds commands whose sender has given up on them: they are carried out when it
        # goes on, and come again.
        wait_until(lambda: time.monotonic() - began > 1.5)
        server.signal(signal.SIGCONT)
        assert outbox.flush(20) == 0
    with server.client() as client:
        ids = [fields[b"id"].decode() for _, fields in client.xrange("defects:events")]
        images = [client.get(f"defects:frame:{identity}") for identity in ids]
    assert ids == [make_parcel(number).id for number in range(60)]
    assert images == [make_parcel(number).annotated_jpeg for number in range(60)]


def test_what_was_lost_is_published_after_a_restart_too(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    sink = MemorySink()
    sink.failure = DOWN
    queue = OutboxQueue(["memory"], max_items=10, storage=SqliteStorage(path))
    with outbox_to(sink, queue=queue) as outbox:
        for number in range(30):
            outbox.put(make_parcel(number))
        outbox.flush(0.05)
        lost = outbox.stats().shed_events
    sink.failure = None
    with outbox_to(sink, queue=OutboxQueue(["memory"], storage=SqliteStorage(path))) as outbox:
        assert outbox.flush(10) == 0
    assert lost == 20
    reported = sum(int(dict(notice.fields)["events"]) for notice in sink.notices)
    missing = 30 - len(sink.events)
    assert reported == lost
    assert missing - lost in (0, 1)  # the notice itself takes the place of one more


def test_events_that_went_without_their_images_are_reported_but_not_counted_as_dropped(valkey: str) -> None:
    images = ImageCounts()
    with outbox_to(RedisSink(valkey, picture_bytes=10, observer=images)) as outbox:
        for number in range(3):
            outbox.put(make_parcel(number))
        assert outbox.flush(10) == 0
        assert outbox.stats().shed_pictures == 0
    assert images.stripped == {"too-large": 3}
    with redis.Redis.from_url(valkey, protocol=2) as client:
        reports = [fields for _, fields in client.xrange("defects:coverage")]
        events = [json.loads(fields[b"event"]) for _, fields in client.xrange("defects:events")]
    assert sum(int(fields[b"pictures"]) for fields in reports) == 3
    assert {(fields[b"kind"], fields[b"cause"]) for fields in reports} == {(b"shed", b"picture-withheld")}
    assert [event["image"]["frame_key"] for event in events] == [None] * 3
