"""The pictures in Redis never take more than they may, whatever happened to Redis or the daemon before."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError
from monitor.events.messages import EventMessage
from tests.support.events import ImageCounts, deliver, make_parcel

ROOM = 10_000


def pictured(number: int, size: int, raw: int = 0) -> EventMessage:
    """An event whose pictures have so many bytes."""
    parcel = make_parcel(number, raw=bool(raw))
    return dataclasses.replace(parcel, annotated_jpeg=bytes(size), raw_jpeg=bytes(raw) if raw else None)


@pytest.fixture
def make_sink(valkey: str) -> Iterator[Callable[..., RedisSink]]:
    made: list[RedisSink] = []

    def make(room: int = ROOM, **options: Any) -> RedisSink:
        made.append(RedisSink(valkey, picture_bytes=room, observer=ImageCounts(), **options))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


def counts(sink: RedisSink) -> ImageCounts:
    assert isinstance(sink._observer, ImageCounts)
    return sink._observer


def kept(client: Any) -> list[int]:
    """The numbers of the events whose annotated picture is there, in order."""
    return sorted(int(key.rsplit(b"-", 1)[1]) for key in client.keys("defects:frame:*"))


def kept_bytes(client: Any) -> int:
    return sum(client.strlen(key) for kind in ("frame", "raw") for key in client.keys(f"defects:{kind}:*"))


def test_the_oldest_pictures_make_room_for_the_newest_and_are_counted(
    make_sink: Callable[..., RedisSink], client: Any
) -> None:
    sink = make_sink()
    deliver(sink, [pictured(number, 2_000, raw=1_000) for number in range(5)])
    assert kept(client) == [2, 3, 4]
    assert client.keys("defects:raw:*")
    assert kept_bytes(client) == counts(sink).stored == 9_000
    assert counts(sink).removed == 2
    assert client.xlen("defects:events") == 5


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.tuples(st.integers(1, 4_000), st.sampled_from((0, 0, 900))), min_size=1, max_size=30),
    batch=st.integers(1, 7),
)
def test_at_every_moment_the_newest_that_fit_are_there_and_no_more(
    make_sink: Callable[..., RedisSink], client: Any, sizes: list[tuple[int, int]], batch: int
) -> None:
    client.flushall()
    sink = make_sink()
    parcels = [pictured(number, *size) for number, size in enumerate(sizes)]
    for begin in range(0, len(parcels), batch):
        deliver(sink, parcels[begin : begin + batch])
        assert kept_bytes(client) == counts(sink).stored <= ROOM
        sent = parcels[: begin + batch]
        there = kept(client)
        assert there == list(range(len(sent) - len(there), len(sent)))
        if len(there) < len(sent):
            assert sum(parcel.image_bytes for parcel in sent[-len(there) - 1 :]) > ROOM


def test_a_repeated_delivery_is_not_counted_again(make_sink: Callable[..., RedisSink], client: Any) -> None:
    sink = make_sink()
    for _ in range(10):
        deliver(sink, [pictured(0, 4_000)])
    assert counts(sink).stored == 4_000


def test_a_delivery_that_failed_in_between_is_not_counted_again(
    make_sink: Callable[..., RedisSink], client: Any
) -> None:
    sink = make_sink()
    client.set("defects:events", "in the way")
    for _ in range(10):
        with pytest.raises(DeliveryError):
            deliver(sink, [pictured(0, 4_000)])
    client.delete("defects:events")
    deliver(sink, [pictured(0, 4_000), pictured(1, 4_000)])
    assert kept(client) == [0, 1]
    assert counts(sink).stored == 8_000


def test_the_reckoning_outlives_the_daemon_and_a_smaller_bound_is_kept_at_once(
    make_sink: Callable[..., RedisSink], client: Any
) -> None:
    deliver(make_sink(100_000), [pictured(number, 1_000) for number in range(50)])
    another = make_sink(5_000)
    deliver(another, [pictured(50, 1_000)])
    assert kept(client) == [46, 47, 48, 49, 50]
    assert counts(another).removed == 46


def test_what_expired_or_was_flushed_takes_no_room(make_sink: Callable[..., RedisSink], client: Any) -> None:
    sink = make_sink()
    deliver(sink, [pictured(number, 3_000) for number in range(3)])
    client.delete(*client.keys("defects:frame:*"))  # as when their time is over
    deliver(sink, [pictured(3, 3_000)])
    assert counts(sink).stored == 3_000
    client.flushall()
    deliver(sink, [pictured(number, 3_000) for number in range(4, 7)])
    assert counts(sink).stored == kept_bytes(client) == 9_000
    assert counts(sink).removed == 0


def test_two_daemons_share_the_room(make_sink: Callable[..., RedisSink], client: Any) -> None:
    one, other = make_sink(), make_sink()
    for number in range(0, 10, 2):
        deliver(one, [pictured(number, 3_000)])
        deliver(other, [pictured(number + 1, 3_000)])
    assert kept(client) == [7, 8, 9]
    assert counts(one).removed + counts(other).removed == 7


def test_a_picture_larger_than_all_may_be_is_withheld_and_its_event_says_so(
    make_sink: Callable[..., RedisSink], client: Any
) -> None:
    sink = make_sink()
    deliver(sink, [pictured(0, 3_000), pictured(1, ROOM + 1), pictured(2, 3_000)])
    assert kept(client) == [0, 2]
    events = [json.loads(fields[b"event"]) for _, fields in client.xrange("defects:events")]
    assert [event["image"]["frame_key"] is None for event in events] == [False, True, False]
    assert counts(sink).stripped == {"too-large": 1}


def test_the_ledger_keeps_nothing_that_is_gone(make_sink: Callable[..., RedisSink], client: Any) -> None:
    sink = make_sink()
    for number in range(0, 200, 10):
        deliver(sink, [pictured(each, 1_000) for each in range(number, number + 10)])
    assert client.zcard("defects:pictures") == len(kept(client)) == 10


def test_a_foreign_member_of_the_ledger_goes_without_harm(
    make_sink: Callable[..., RedisSink], client: Any
) -> None:
    sink = make_sink()
    client.zadd("defects:pictures", {"what is this": 7})
    deliver(sink, [pictured(number, 3_000) for number in range(5)])
    assert kept(client) == [2, 3, 4]


def test_a_key_of_another_type_in_the_ledgers_place_is_refused(
    make_sink: Callable[..., RedisSink], client: Any
) -> None:
    sink = make_sink()
    client.set("defects:pictures", "in the way")
    with pytest.raises(DeliveryError, match="another type"):
        sink.check()
    with pytest.raises(DeliveryError, match="another type"):
        deliver(sink, [pictured(0, 1_000)])
    assert not client.exists("defects:events")


def test_near_the_end_of_memory_the_oldest_pictures_go_and_the_newest_stay(
    make_server: Callable[..., Any],
) -> None:
    server = make_server()
    sink = RedisSink(server.url, observer=ImageCounts())
    with server.client() as client:
        for number in range(40):
            deliver(sink, [pictured(number, 100_000)])
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.9))
        for number in range(40, 80):
            deliver(sink, [pictured(number, 100_000)])
            assert client.info("memory")["used_memory"] < client.info("memory")["maxmemory"]
        there = kept(client)
        assert client.xlen("defects:events") == 80
    assert there == list(range(80 - len(there), 80))
    assert len(there) > 20
    assert counts(sink).stripped == {}
    assert counts(sink).removed == 80 - len(there)
    sink.close()
