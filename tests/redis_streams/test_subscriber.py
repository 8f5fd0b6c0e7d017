"""The reading side: nothing missed, nothing given to two at once, and no crash over what it cannot read."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import jsonschema
import pytest

from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError
from monitor.events.event import Event
from monitor.events.incidents import IncidentTracker, IncidentWindow
from monitor.events.messages import EventMessage, NoticeMessage
from monitor.events.schemas import INCIDENT_SCHEMA_FILE
from monitor.records import CameraStateChange
from monitor.redis_streams.consumer_group import EntriesMissedError, MissedEntries, UnreadableEntry
from monitor.redis_streams.subscriber import EventMissingError, Subscriber
from tests.support.events import BEGIN, deliver, make_event, make_jpeg, make_parcel, make_verdicts


@pytest.fixture
def sink(valkey: str) -> Iterator[RedisSink]:
    sink = RedisSink(valkey)
    yield sink
    sink.close()


@pytest.fixture
def subscriber(valkey: str) -> Iterator[Subscriber]:
    with Subscriber(valkey, interval=0.05) as subscriber:
        yield subscriber


def send(sink: RedisSink, *numbers: int) -> None:
    deliver(sink, [make_parcel(number, raw=True) for number in numbers])


def frames(events: Any) -> list[int]:
    return [event.frame_number for event in events]


def test_follow_gives_what_comes_after_the_call(sink: RedisSink, subscriber: Subscriber) -> None:
    send(sink, 0)
    following = subscriber.follow()
    send(sink, 1, 2)
    assert frames(islice(following, 2)) == [1, 2]
    send(sink, 3)
    assert next(following).frame_number == 3


def test_follow_from_the_beginning_gives_all(sink: RedisSink, subscriber: Subscriber) -> None:
    for begin in range(0, 250, 25):
        send(sink, *range(begin, begin + 25))
    assert frames(islice(subscriber.follow("0"), 250)) == list(range(250))
    assert frames(subscriber.stored()) == list(range(250))
    assert frames(subscriber.stored(newest_first=True)) == list(range(249, -1, -1))


def test_follow_ends_when_asked_to(subscriber: Subscriber) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    assert list(subscriber.follow(stop=stop.is_set)) == []


def test_pictures_are_fetched_until_their_time_is_over(
    sink: RedisSink, subscriber: Subscriber, client: Any
) -> None:
    send(sink, 7)
    (event,) = subscriber.stored()
    assert subscriber.picture(event) == make_jpeg(7)
    assert subscriber.raw_picture(event) == make_jpeg(9)
    client.delete(event.image.frame_key)
    assert subscriber.picture(event) is None
    bare = event.model_copy(update={"image": event.image.model_copy(update={"raw_key": None})})
    assert subscriber.raw_picture(bare) is None


def test_an_event_is_found_by_its_id(sink: RedisSink, subscriber: Subscriber) -> None:
    send(sink, *range(20))
    assert subscriber.find(make_event(4).id).frame_number == 4
    for odd in ("no-such", "*", "", "a\nb", "é" * 300):
        with pytest.raises(EventMissingError):
            subscriber.find(odd)


def future() -> str:
    return json.dumps(json.loads(make_event(8).to_json()) | {"version": 2})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"hello": "world"}, "no field `event`"),
        ({"event": "{"}, "no event of version 1"),
        ({"event": b"\xff\xfe"}, "no event of version 1"),
        ({"event": future()}, "version"),
        ({"event": "[]"}, "no event of version 1"),
    ],
)
def test_what_is_no_event_is_reported_and_skipped(
    valkey: str, sink: RedisSink, client: Any, fields: dict[str, Any], says: str
) -> None:
    send(sink, 1)
    entry = client.xadd("defects:events", fields).decode()
    send(sink, 2)
    reported: list[UnreadableEntry] = []
    with Subscriber(valkey, interval=0.05, on_unreadable=reported.append) as subscriber:
        assert frames(subscriber.stored()) == [1, 2]
        assert frames(islice(subscriber.follow("0"), 2)) == [1, 2]
        working = subscriber.work("g", "c", start="0", wait=False)
        assert frames((event, acknowledge())[0] for event, acknowledge in working) == [1, 2]
    assert client.xpending("defects:events", "g")["pending"] == 0
    assert [(unreadable.entry, says in unreadable.reason) for unreadable in reported] == [(entry, True)] * 3


def test_an_unreadable_entry_is_logged_unless_handled_otherwise(
    subscriber: Subscriber, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client.xadd("defects:events", {"hello": "world"})
    assert list(subscriber.stored()) == []
    assert "skipped" in caplog.text


def test_a_group_shares_the_work(valkey: str, sink: RedisSink) -> None:
    send(sink, *range(6))
    with Subscriber(valkey, interval=0.05) as one, Subscriber(valkey, interval=0.05) as other:
        first = one.work("archive", "one", start="0", wait=False)
        second = other.work("archive", "other", wait=False)
        got: list[int] = []
        for worker in (first, second) * 3:
            event, acknowledge = next(worker)
            got.append(event.frame_number)
            acknowledge()
        assert got == list(range(6))
        assert list(first) == list(second) == []


def test_what_was_not_acknowledged_comes_again_to_a_consumer_that_starts_again(
    sink: RedisSink, subscriber: Subscriber
) -> None:
    send(sink, 1, 2, 3)
    for event, acknowledge in islice(subscriber.work("g", "c", start="0"), 2):
        if event.frame_number == 1:
            acknowledge()
    again = [event.frame_number for event, acknowledge in subscriber.work("g", "c", wait=False)]
    assert again == [2, 3]


def test_the_work_of_a_dead_consumer_is_taken_over(sink: RedisSink, subscriber: Subscriber) -> None:
    send(sink, 1, 2)
    dead, _ = next(subscriber.work("g", "dead", start="0"))
    assert dead.frame_number == 1
    got = []
    working = subscriber.work("g", "living", takeover=0.1)
    for event, acknowledge in islice(working, 2):
        got.append(event.frame_number)
        acknowledge()
    assert sorted(got) == [1, 2]
    time.sleep(0.15)
    assert list(subscriber.work("g", "third", takeover=0.1, wait=False)) == []


def test_work_that_was_trimmed_away_meanwhile_is_passed_over(
    sink: RedisSink, subscriber: Subscriber, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    send(sink, 1, 2, 3)
    given, _ = next(subscriber.work("g", "c", start="0"))
    client.xtrim("defects:events", maxlen=1, approximate=False)
    assert given.frame_number == 1
    with pytest.raises(EntriesMissedError):  # the second one, which nobody had
        list(subscriber.work("g", "c", wait=False))
    assert frames(event for event, _ in subscriber.work("g", "c", wait=False)) == [3]
    assert "trimmed away" in caplog.text
    next(subscriber.work("g", "d", wait=False), None)
    assert client.xpending("defects:events", "g")["pending"] == 1


def test_work_trimmed_away_does_not_hide_other_work_of_a_dead_consumer(
    sink: RedisSink, subscriber: Subscriber, client: Any
) -> None:
    send(sink, 1, 2, 3)
    assert frames(event for event, _ in subscriber.work("g", "dead", start="0", wait=False)) == [1, 2, 3]
    client.xtrim("defects:events", maxlen=1, approximate=False)
    time.sleep(0.1)
    event, _ = next(subscriber.work("g", "living", takeover=0.05, wait=False))
    assert event.frame_number == 3


def test_a_stream_that_was_deleted_does_not_end_the_work(
    sink: RedisSink, subscriber: Subscriber, client: Any
) -> None:
    send(sink, 1)
    working = subscriber.work("g", "c", start="0")
    assert next(working)[0].frame_number == 1
    client.flushall()
    send(sink, 2)
    assert next(working)[0].frame_number == 2


def test_followers_go_on_after_an_outage(make_server: Callable[..., Any]) -> None:
    server = make_server("--appendonly", "yes", "--appendfsync", "always")
    sink = RedisSink(server.url)
    got: list[int] = []

    def follow() -> None:
        with Subscriber(server.url, interval=0.05, timeout=1.0) as subscriber:
            got.extend(frames(islice(subscriber.follow("0"), 2)))

    send(sink, 1)
    follower = threading.Thread(target=follow)
    follower.start()
    time.sleep(0.2)
    server.stop()
    time.sleep(0.3)
    server.start()
    sink.close()
    send(sink, 2)
    follower.join(15)
    assert got == [1, 2]
    sink.close()


def test_patience_ends(make_server: Callable[..., Any]) -> None:
    server = make_server()
    with Subscriber(server.url, interval=0.05, patience=0.2) as subscriber:
        following = subscriber.follow()
        server.stop()
        with pytest.raises(DeliveryError, match="cannot be reached"):
            next(following)
        with pytest.raises(DeliveryError, match="cannot be reached"):
            subscriber.work("g", "c")


def test_a_key_of_another_type_is_reported_at_once(valkey: str, client: Any) -> None:
    client.set("defects:events", "in the way")
    with Subscriber(valkey) as subscriber:
        for begin in (
            subscriber.follow,
            lambda: subscriber.work("g", "c"),
            lambda: next(subscriber.stored()),
            lambda: next(subscriber.follow("0")),
        ):
            with pytest.raises(DeliveryError, match="another type"):
                begin()


def test_plain_clients_can_read_the_same(sink: RedisSink, client: Any) -> None:
    send(sink, 1)
    ((_, fields),) = client.xrange("defects:events")
    event = json.loads(fields[b"event"])
    assert client.get(event["image"]["frame_key"]) == make_jpeg(1)
    assert Event.from_json(fields[b"event"]).model_copy(update={"image": make_event(1).image}) == make_event(
        1
    )


def test_incidents_can_be_followed_beside_events(
    sink: RedisSink, subscriber: Subscriber, client: Any
) -> None:
    incidents = IncidentTracker(IncidentWindow())
    event = make_event()
    event = event.model_copy(update={"incident": incidents.observe(event)})
    incidents.close_all()
    deliver(sink, [EventMessage.of(event, None)])
    while (report := incidents.pop_report()) is not None:
        deliver(sink, [report.notice()] * 2)
    client.xadd("defects:incidents", {"something": "else"})
    found = list(islice(subscriber.incidents("0"), 2))
    assert [(it.id, it.phase) for it in found] == [(event.id, "start"), (event.id, "end")]
    (seen,) = subscriber.stored()
    assert seen.incident is not None
    assert seen.incident.id == found[0].id
    schema = json.loads(INCIDENT_SCHEMA_FILE.read_text())
    for _, fields in client.xrange("defects:incidents")[:2]:
        jsonschema.validate(json.loads(fields[b"incident"]), schema)


def trim(client: Any, keep: int) -> None:
    client.xtrim("defects:events", maxlen=keep, approximate=False)


def test_a_follower_whose_position_was_trimmed_away_learns_it(
    valkey: str, sink: RedisSink, subscriber: Subscriber, client: Any
) -> None:
    send(sink, *range(10))
    ids = [entry.decode() for entry, _ in client.xrange("defects:events")]
    trim(client, 4)
    with pytest.raises(EntriesMissedError, match="trimmed away") as caught:
        next(subscriber.follow(ids[2]))
    missed = caught.value.missed
    assert (missed.after, missed.first) == (ids[2], ids[6])
    assert missed.since <= missed.until
    found = list(islice(subscriber.follow(missed.resume_from), 4))
    assert [event.frame_number for event in found] == [6, 7, 8, 9]
    reports: list[MissedEntries] = []
    with Subscriber(valkey, interval=0.02, on_missed=reports.append) as lenient:
        found = list(islice(lenient.follow(ids[2]), 4))
    assert [event.frame_number for event in found] == [6, 7, 8, 9]
    assert reports == [missed]


def test_a_follower_that_missed_nothing_gets_no_report(
    sink: RedisSink, subscriber: Subscriber, client: Any
) -> None:
    send(sink, *range(10))
    ids = [entry.decode() for entry, _ in client.xrange("defects:events")]
    trim(client, 4)
    for start, count in (("0", 4), (ids[6], 3), (ids[8], 1)):
        assert len(list(islice(subscriber.follow(start), count))) == count


def test_a_follower_that_falls_behind_while_it_runs_learns_it(
    valkey: str, sink: RedisSink, client: Any
) -> None:
    reports: list[MissedEntries] = []
    with Subscriber(valkey, interval=0.02, on_missed=reports.append) as subscriber:
        send(sink, 0)
        events = subscriber.follow("0")
        assert next(events).frame_number == 0
        send(sink, *range(1, 300))
        trim(client, 5)
        assert next(events).frame_number == 295
        assert len(reports) == 1
        client.flushall()
        time.sleep(0.005)  # ids are milliseconds
        deliver(RedisSink(valkey), [make_parcel(400)])
        assert [event.frame_number for event in islice(events, 5)] == [296, 297, 298, 299, 400]
        assert len(reports) == 2


def test_a_group_whose_position_was_trimmed_away_learns_it_once_and_loses_nothing_more(
    valkey: str, sink: RedisSink, client: Any
) -> None:
    with Subscriber(valkey, interval=0.02) as subscriber:
        send(sink, 0)
        for _, acknowledge in subscriber.work("g", "a", start="0", wait=False):
            acknowledge()
        send(sink, *range(1, 10))
        trim(client, 4)
        with pytest.raises(EntriesMissedError):
            list(subscriber.work("g", "a", wait=False))
        found = []
        for event, acknowledge in subscriber.work("g", "a", wait=False):
            found.append(event.frame_number)
            acknowledge()
    assert found == [6, 7, 8, 9]


def test_coverage_can_be_followed(sink: RedisSink, subscriber: Subscriber, client: Any) -> None:
    change = CameraStateChange("top", "down", BEGIN, "timeout")
    deliver(sink, [NoticeMessage.of(change)])
    client.xadd("defects:coverage", {"something": "else"})
    deliver(sink, [NoticeMessage.of(replace(change, state="up"))])
    found = list(islice(subscriber.coverage("0"), 2))
    assert [(entry["kind"], entry["state"]) for entry in found] == [("camera", "down"), ("camera", "up")]


def test_verdicts_can_be_followed_and_what_is_missing_is_reported(
    sink: RedisSink, subscriber: Subscriber, client: Any
) -> None:
    deliver(sink, [make_verdicts(0), make_verdicts(3, camera="side"), make_verdicts(6)])
    client.xadd("defects:verdicts", {"something": "else"})
    deliver(sink, [make_verdicts(9, end="stopped"), make_verdicts(0, run="b2")])
    found = list(islice(subscriber.verdicts("0"), 6))
    assert [(batch.run, batch.camera, batch.first, batch.next, batch.end) for batch in found] == [
        ("a1", "top", 0, 3, None),
        ("a1", "side", 3, 6, None),
        ("a1", "top", 3, 6, None),  # is not in the stream
        ("a1", "top", 6, 9, None),
        ("a1", "top", 9, 12, "stopped"),
        ("b2", "top", 0, 3, None),
    ]
    (lost,) = found[2].verdicts
    assert (lost.frame_number, lost.last_number, lost.outcome, lost.cause) == (3, 5, "unreported", "missing")
    assert [verdict.outcome for verdict in found[3].verdicts] == ["clean"] * 3


def test_a_reader_of_verdicts_that_is_too_slow_learns_it(valkey: str, client: Any) -> None:
    sink = RedisSink(valkey, verdicts_maxlen=1)
    with Subscriber(valkey, interval=0.05) as subscriber:
        deliver(sink, [make_verdicts(0)])
        following = subscriber.verdicts("0")
        assert next(following).first == 0
        for number in range(1, 300):
            deliver(sink, [make_verdicts(3 * number)])
        assert client.xlen("defects:verdicts") < 200
        with pytest.raises(EntriesMissedError):
            next(following)
    sink.close()
