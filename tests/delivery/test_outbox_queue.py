"""What waits stays in order and within bounds, and every loss is accounted for."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.events.event import Event
from monitor.events.messages import EventMessage, OutboxMessage
from tests.support.events import make_event

TEMPLATE = make_event()


def parcel(number: int, picture: int) -> EventMessage:
    event = TEMPLATE.model_copy(update={"id": f"top-{number}"})
    return EventMessage.of(event, b"j" * picture if picture else None)


BARE = parcel(0, 0).size


class QueueMachine(RuleBasedStateMachine):
    """Whatever is added, taken and settled: each item is waiting, delivered, or counted as lost."""

    max_items, max_bytes = 6, 9000

    def __init__(self) -> None:
        super().__init__()
        self.store = OutboxQueue(self.max_items, self.max_bytes)
        self.added = self.pictures = 0
        self.delivered: list[OutboxMessage] = []
        self.taken: list[OutboxMessage] = []
        self.lost: Counter[str] = Counter()

    @rule(picture=st.sampled_from([0, 100, 3000]))
    def add(self, picture: int) -> None:
        for (_, kind), count in self.store.append(parcel(self.added, picture), float(self.added)).items():
            self.lost[kind] += count
        self.added += 1

    @rule(items=st.integers(1, 4), size=st.integers(1, 8000))
    def take(self, items: int, size: int) -> None:
        self.taken = list(self.store.next_batch(items, size))
        assert len(self.taken) <= items
        assert len(self.taken) == 1 or sum(item.size for item in self.taken) <= size or not self.taken

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, len(self.taken)))
        settled = self.store.acknowledge(count)
        assert [item for item, _ in settled] == self.taken[:count], (
            "what was taken has been changed meanwhile"
        )
        assert [f"top-{int(at)}" for _, at in settled] == [item.id for item, _ in settled]
        self.delivered += self.taken[:count]
        self.taken = []

    @invariant()
    def nothing_is_unaccounted_for(self) -> None:
        assert self.added == len(self.delivered) + len(self.store) + self.lost["events"]
        assert len(self.store) <= self.max_items
        assert self.store.size <= max(self.max_bytes, sum(item.size for item in self.taken))

    @invariant()
    def order_is_kept(self) -> None:
        numbers = [int(item.id.removeprefix("top-")) for item in self.delivered]
        assert numbers == sorted(set(numbers))


class AccountsOnDisk(QueueMachine):
    """The same on disk, through restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.store = self.opened()

    def opened(self) -> OutboxQueue:
        shelf = SqliteStorage(Path(self.folder.name) / "outbox.db", sync="process", clock=float, wall=float)
        return OutboxQueue(self.max_items, self.max_bytes, shelf)

    @rule()
    def restart(self) -> None:
        self.store.acknowledge(0)
        self.taken = []
        self.store.shelf.close()
        self.store = self.opened()

    def teardown(self) -> None:
        self.store.shelf.close()
        self.folder.cleanup()


TestAccounts = QueueMachine.TestCase


TestAccountsOnDisk = AccountsOnDisk.TestCase


TestAccountsOnDisk.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_pictures_go_before_events_and_the_oldest_first() -> None:
    store = OutboxQueue(100, 3 * BARE + 2500)
    assert not store.append(parcel(0, 1000), 0.0)
    assert not store.append(parcel(1, 1000), 1.0)
    assert store.append(parcel(2, 1000), 2.0) == {("top", "pictures"): 1}
    first, second, third = store.next_batch(3, 1_000_000)
    assert [item.image_bytes for item in (first, second, third)] == [0, 1000, 1000]
    assert isinstance(first, EventMessage)
    assert Event.from_json(first.document).image.frame_key is None


def test_when_no_picture_is_left_the_oldest_event_goes() -> None:
    store = OutboxQueue(2, 1_000_000)
    for number in range(3):
        lost = store.append(parcel(number, 0), 0.0)
    assert lost == {("top", "events"): 1}
    assert [item.id for item in store.next_batch(9, 1_000_000)] == ["top-1", "top-2"]


def test_what_is_being_delivered_is_not_given_up() -> None:
    store = OutboxQueue(2, 1_000_000)
    store.append(parcel(0, 10), 0.0)
    store.append(parcel(1, 10), 0.0)
    store.next_batch(2, 1_000_000)
    assert store.append(parcel(2, 10), 0.0) == {("top", "events"): 1}
    assert [item.id for item, _ in store.acknowledge(2)] == ["top-0", "top-1"]
    assert len(store) == 0
    assert store.size == 0


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=30))
def test_the_size_is_that_of_what_waits(pictures: list[int]) -> None:
    store = OutboxQueue(1000, 20_000)
    for number, picture in enumerate(pictures):
        store.append(parcel(number, picture), 0.0)
    assert store.size == sum(item.size for item in store.next_batch(1000, 10**9))


def test_an_item_too_large_for_the_store_is_lost_and_said_to_be() -> None:
    store = OutboxQueue(10, 100)
    assert store.append(parcel(0, 1000), 0.0) == {("top", "pictures"): 1, ("top", "events"): 1}
    assert store.oldest() is None


@pytest.mark.parametrize(("added", "free"), [(5, True), (6, False)])
def test_half_empty_is_half_of_the_items(added: int, free: bool) -> None:
    store = OutboxQueue(10, 10**9)
    for number in range(added):
        store.append(parcel(number, 0), 0.0)
    assert store.has_headroom() is free


def test_what_has_waited_too_long_goes_unless_it_is_being_delivered() -> None:
    store = OutboxQueue(10, 10**9)
    for number in range(4):
        store.append(parcel(number, 0), float(number))
    store.next_batch(1, 10**9)
    assert store.drop_older_than(3.0) == {("top", "events"): 2}
    store.acknowledge(0)
    assert [item.id for item in store.next_batch(9, 10**9)] == ["top-0", "top-3"]
