"""The queue stays in order and within bounds, with a cursor for each sink, and accounts for every loss."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.delivery.clock import AgeClock
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.delivery.storage import OutboxEntry
from monitor.events.messages import EventMessage
from tests.support.events import make_event
from tests.support.sqlite_faults import opened

TEMPLATE = make_event()


def message(number: int, image: int = 0) -> EventMessage:
    event = TEMPLATE.model_copy(update={"id": f"top-{number}"})
    return EventMessage.of(event, b"j" * image if image else None)


BARE = message(0).size


def number_of(entry: OutboxEntry) -> int:
    return int(entry.message.id.removeprefix("top-"))


def numbers(queue: OutboxQueue, sink: str = "redis") -> list[int]:
    batch = queue.next_batch(sink, 10_000, 10**9)
    queue.release(sink)
    return [number_of(entry) for entry in batch]


class QueueMachine(RuleBasedStateMachine):
    """Whatever is appended and delivered to two sinks: each message is queued, delivered or counted."""

    sinks = ("redis", "mqtt")
    max_items, max_bytes = 6, 9000

    def __init__(self) -> None:
        super().__init__()
        self.queue = self.opened()
        self.added = 0
        self.delivered: dict[str, list[int]] = {sink: [] for sink in self.sinks}
        self.batches: dict[str, list[OutboxEntry]] = {}

    def opened(self) -> OutboxQueue:
        return OutboxQueue(self.sinks, max_items=self.max_items, max_bytes=self.max_bytes)

    @rule(image=st.sampled_from([0, 100, 3000]))
    def append(self, image: int) -> None:
        self.queue.append(message(self.added, image))
        self.added += 1

    @rule(sink=st.sampled_from(sinks), items=st.integers(1, 4), size=st.integers(1, 8000))
    def take(self, sink: str, items: int, size: int) -> None:
        batch = self.batches[sink] = self.queue.next_batch(sink, items, size)
        assert len(batch) <= items
        assert len(batch) <= 1 or sum(entry.message.size for entry in batch) <= size

    @rule(sink=st.sampled_from(sinks), data=st.data())
    def acknowledge(self, sink: str, data: st.DataObject) -> None:
        batch = self.batches.pop(sink, [])
        count = data.draw(st.integers(0, len(batch)))
        if count:
            self.queue.acknowledge(sink, batch[count - 1].key)
        else:
            self.queue.release(sink)
        self.delivered[sink] += [number_of(entry) for entry in batch[:count]]

    @invariant()
    def nothing_is_unaccounted_for(self) -> None:
        missing = sum(
            self.added - len(set(self.delivered[sink])) - self.queue.pending(sink) for sink in self.sinks
        )
        assert missing == self.queue.drops.counts["events"]
        in_flight = {entry.key: entry.message.size for batch in self.batches.values() for entry in batch}
        assert len(self.queue) <= max(self.max_items, len(in_flight))
        assert self.queue.size <= max(self.max_bytes, sum(in_flight.values()))

    @invariant()
    def order_is_preserved(self) -> None:
        for delivered in self.delivered.values():
            assert delivered == sorted(set(delivered))

    @invariant()
    def what_every_sink_has_is_removed(self) -> None:
        assert len(self.queue) == max(self.queue.pending(sink) for sink in self.sinks)


class QueueOnDiskMachine(QueueMachine):
    """The same on disk, through restarts."""

    def __init__(self) -> None:
        self.folder = TemporaryDirectory()
        self.lost = 0
        super().__init__()

    def opened(self) -> OutboxQueue:
        storage = SqliteStorage(Path(self.folder.name) / "outbox.db", sync="process")
        return OutboxQueue(self.sinks, max_items=self.max_items, max_bytes=self.max_bytes, storage=storage)

    @rule()
    def commit(self) -> None:
        self.queue.commit()

    @rule()
    def restart(self) -> None:
        self.batches = {}
        self.queue.storage.close()
        counts, self.queue = self.queue.drops.counts, self.opened()
        self.queue.drops.counts.update(counts)

    def teardown(self) -> None:
        self.queue.storage.close()
        self.folder.cleanup()


TestQueue = QueueMachine.TestCase


TestQueueOnDisk = QueueOnDiskMachine.TestCase


TestQueueOnDisk.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def queue_of(max_items: int = 100, max_bytes: int = 10**9, sinks: Sequence[str] = ("redis",)) -> OutboxQueue:
    return OutboxQueue(sinks, max_items=max_items, max_bytes=max_bytes)


def test_images_go_before_events_and_the_oldest_first() -> None:
    queue = queue_of(max_bytes=3 * BARE + 2500)
    for number in range(3):
        queue.append(message(number, 1000))
    first, second, third = queue.next_batch("redis", 3, 1_000_000)
    assert [entry.message.image_bytes for entry in (first, second, third)] == [0, 1000, 1000]
    assert queue.drops.counts == {"pictures": 1}


def test_when_no_image_is_left_the_oldest_event_goes() -> None:
    queue = queue_of(max_items=2)
    for number in range(3):
        queue.append(message(number))
    assert numbers(queue) == [1, 2]
    assert queue.drops.counts == {"events": 1}


def test_a_loss_counts_for_each_sink_that_had_not_had_it_and_is_reported_once() -> None:
    queue = queue_of(max_items=2, sinks=("redis", "mqtt", "opcua"))
    queue.append(message(0))
    queue.append(message(1))
    queue.next_batch("mqtt", 1, 10**9)
    queue.acknowledge("mqtt", 0)
    queue.append(message(2))
    assert queue.drops.counts == {"events": 2}
    (report,) = queue.drops.pop_all()
    assert report.events == 1


def test_the_report_of_a_loss_names_its_capture_times() -> None:
    queue = queue_of(max_items=2)
    for number in range(5):
        queue.append(EventMessage.of(make_event(number), None))
    (report,) = queue.drops.pop_all()
    assert (report.started_at, report.ended_at) == (make_event(0).captured_at, make_event(2).captured_at)


def test_what_is_being_delivered_is_not_dropped() -> None:
    queue = queue_of(max_items=2)
    queue.append(message(0, 10))
    queue.append(message(1, 10))
    queue.next_batch("redis", 2, 1_000_000)
    queue.append(message(2, 10))
    assert queue.drops.counts == {"events": 1}
    queue.acknowledge("redis", 1)
    assert (len(queue), queue.size) == (0, 0)


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=30))
def test_the_size_is_that_of_all_messages(images: list[int]) -> None:
    queue = queue_of(1000, 20_000)
    for number, image in enumerate(images):
        queue.append(message(number, image))
    assert queue.size == sum(entry.message.size for entry in queue.next_batch("redis", 1000, 10**9))


def test_a_message_too_large_for_the_queue_is_lost_and_counted() -> None:
    queue = queue_of(10, 100)
    queue.append(message(0, 1000))
    assert queue.drops.counts == {"pictures": 1, "events": 1}
    assert len(queue) == 0


def test_a_new_sink_starts_at_the_end_and_the_cursor_of_a_removed_one_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with opened(path, "redis", "mqtt") as queue:
        for number in range(3):
            queue.append(message(number))
        queue.next_batch("redis", 1, 10**9)
        queue.acknowledge("redis", 0)
    with opened(path, "redis", "opcua") as queue:
        assert numbers(queue, "redis") == [1, 2]
        assert numbers(queue, "opcua") == []
        queue.append(message(3))
        assert numbers(queue, "opcua") == [3]
    with opened(path, "redis", "mqtt") as queue:
        assert numbers(queue, "redis") == [1, 2, 3]
        assert numbers(queue, "mqtt") == [], "mqtt had left, so it is new"


class Clocks:
    """A machine's clocks, to be set by the test."""

    def __init__(self) -> None:
        self.seconds, self.wall, self.synchronised, self.boot = 10.0, 1e9, True, "first"

    def age_clock(self) -> AgeClock:
        return AgeClock(
            seconds=lambda: self.seconds,
            wall=lambda: self.wall,
            is_synchronised=lambda: self.synchronised,
            boot=self.boot,
        )

    def queue(self, path: Path, max_age: float = 3600.0) -> OutboxQueue:
        return OutboxQueue(
            ("redis",), max_age=max_age, storage=SqliteStorage(path), age_clock=self.age_clock()
        )


MONTH = 30 * 86_400.0


@pytest.mark.parametrize("step", [MONTH, -MONTH, 3600.0, -3600.0])
@pytest.mark.parametrize("synchronised", [True, False])
def test_a_clock_step_in_either_direction_drops_nothing(
    tmp_path: Path, step: float, synchronised: bool
) -> None:
    clocks = Clocks()
    clocks.synchronised = synchronised
    queue = clocks.queue(tmp_path / "outbox.db")
    for number in range(3):
        queue.append(message(number))
    clocks.wall, clocks.synchronised = clocks.wall + step, True
    clocks.seconds += 60
    queue.maintain()
    assert len(queue) == 3
    queue.storage.close()
    queue = clocks.queue(tmp_path / "outbox.db")  # the daemon is restarted, the machine is not
    clocks.seconds += 60
    queue.maintain()
    assert len(queue) == 3
    assert queue.oldest_age() == pytest.approx(120)


def test_after_a_boot_without_a_clock_nothing_is_dropped_until_it_is_synchronised(tmp_path: Path) -> None:
    clocks = Clocks()
    queue = clocks.queue(tmp_path / "outbox.db")
    queue.append(message(0))
    queue.storage.close()
    clocks.boot, clocks.seconds, clocks.wall, clocks.synchronised = "second", 5.0, 1e9 + MONTH, False
    queue = clocks.queue(tmp_path / "outbox.db")
    clocks.seconds += 7200
    queue.maintain()
    assert len(queue) == 1, "the clock may be wrong"
    clocks.wall, clocks.synchronised = 1e9 + 1800, True
    clocks.seconds = 30.0
    queue.storage.close()
    queue = clocks.queue(tmp_path / "outbox.db")
    queue.maintain()
    assert len(queue) == 1
    assert queue.oldest_age() == pytest.approx(1800)
    clocks.wall, clocks.seconds = 1e9 + 7200, 5430.0
    queue.maintain()
    assert queue.drops.counts == {"events": 1}
    queue.storage.close()


def test_an_event_of_an_unsynchronised_boot_is_as_old_as_is_known(tmp_path: Path) -> None:
    clocks = Clocks()
    clocks.wall, clocks.synchronised = 0.0, False  # a dead clock battery
    queue = clocks.queue(tmp_path / "outbox.db")
    queue.append(message(0))
    queue.storage.close()
    clocks.boot, clocks.wall, clocks.synchronised = "second", 1e9, True
    queue = clocks.queue(tmp_path / "outbox.db")
    queue.maintain()
    assert len(queue) == 1
    assert queue.oldest_age() == 0
    queue.storage.close()


def test_messages_older_than_their_maximum_go_unless_they_are_being_delivered() -> None:
    clocks = Clocks()
    queue = OutboxQueue(("redis",), max_age=100.0, age_clock=clocks.age_clock())
    for number in range(4):
        queue.append(message(number))
        clocks.seconds += 30
    queue.next_batch("redis", 1, 10**9)
    clocks.seconds += 50
    queue.maintain()
    assert queue.drops.counts == {"events": 2}
    queue.release("redis")
    first, last, notice = queue.next_batch("redis", 9, 10**9)
    assert [number_of(first), number_of(last)] == [0, 3]
    assert notice.message.id.startswith("shed-")
