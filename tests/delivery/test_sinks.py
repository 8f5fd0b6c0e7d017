"""One suite over every sink: delivered in order, each id once."""

import json
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from monitor.delivery.sinks.base import Sink
from monitor.delivery.sinks.memory import MemorySink
from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError
from monitor.events.event import Event
from monitor.events.messages import NoticeMessage
from monitor.records import CameraStateChange
from monitor.redis_streams.address import RedisCredentials
from tests.support.events import BEGIN, ImageCounts, deliver, make_parcel, published
from tests.support.redis_servers import SERVERS, wait_until

every_server = pytest.mark.parametrize("program", SERVERS, indirect=True)


NOTICE = NoticeMessage.of(CameraStateChange("top", "down", BEGIN, "timeout"))


class Delivered(Protocol):
    """A sink with what it holds."""

    sink: Sink

    def events(self) -> list[tuple[str, bytes | None, bytes | None]]: ...
    def notices(self) -> list[dict[str, str]]: ...
    def break_it(self) -> None: ...
    def repair_it(self) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.sink = MemorySink()

    def events(self) -> list[tuple[str, bytes | None, bytes | None]]:
        return [(published(event), event.annotated_jpeg, event.raw_jpeg) for event in self.sink.events]

    def notices(self) -> list[dict[str, str]]:
        return [dict(notice.fields) for notice in self.sink.notices]

    def break_it(self) -> None:
        self.sink.failure = DeliveryError("broken by the test")

    def repair_it(self) -> None:
        self.sink.failure = None


class InRedis:
    def __init__(self, url: str, client: Any) -> None:
        self.client = client
        self.sink = RedisSink(url)

    def events(self) -> list[tuple[str, bytes | None, bytes | None]]:
        found = []
        for _, fields in self.client.xrange("defects:events"):
            event = Event.from_json(fields[b"event"])
            assert fields[b"id"].decode() == event.id
            assert fields[b"camera"].decode() == event.camera
            pictures = [self.client.get(f"defects:{kind}:{event.id}") for kind in ("frame", "raw")]
            found.append((fields[b"event"].decode(), *pictures))
        return found

    def notices(self) -> list[dict[str, str]]:
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            for _, fields in self.client.xrange("defects:coverage")
        ]

    def break_it(self) -> None:
        self.client.set("defects:events", "in the way")

    def repair_it(self) -> None:
        self.client.delete("defects:events")


@pytest.fixture(params=["memory", "redis"])
def delivered(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        yield InMemory()
        return
    in_redis = InRedis(request.getfixturevalue("valkey"), request.getfixturevalue("client"))
    yield in_redis
    in_redis.sink.close()


def test_everything_arrives_in_order_as_it_was(delivered: Delivered) -> None:
    parcels = [make_parcel(number, raw=number == 1) for number in range(3)]
    assert deliver(delivered.sink, [*parcels[:2], NOTICE, parcels[2]]) == 4
    assert delivered.events() == [
        (published(parcel), parcel.annotated_jpeg, parcel.raw_jpeg) for parcel in parcels
    ]
    assert delivered.notices() == [dict(NOTICE.fields)]


def test_delivered_twice_is_there_once(delivered: Delivered) -> None:
    first, second = make_parcel(0), make_parcel(1)
    assert deliver(delivered.sink, [first, NOTICE]) == 2
    assert deliver(delivered.sink, [first, NOTICE, second]) == 3
    assert [document for document, _, _ in delivered.events()] == [published(first), published(second)]
    assert len(delivered.notices()) == 1


def test_a_parcel_without_pictures_arrives_without(delivered: Delivered) -> None:
    bare = make_parcel().without_images()
    deliver(delivered.sink, [bare])
    assert delivered.events() == [(published(bare), None, None)]


def test_a_failure_delivers_nothing_and_the_next_try_everything(delivered: Delivered) -> None:
    parcels = [make_parcel(0), make_parcel(1)]
    delivered.break_it()
    with pytest.raises(DeliveryError):
        deliver(delivered.sink, parcels)
    delivered.repair_it()
    assert deliver(delivered.sink, parcels) == 2
    assert [document for document, _, _ in delivered.events()] == [published(parcel) for parcel in parcels]


def test_a_sink_can_be_used_again_after_it_was_closed(delivered: Delivered) -> None:
    delivered.sink.close()
    assert deliver(delivered.sink, [make_parcel()]) == 1


@every_server
def test_redis_stops_at_the_first_that_fails(make_server: Callable[..., Any]) -> None:
    server = make_server()
    client = server.client()
    client.set("defects:coverage", "in the way")
    sink = RedisSink(server.url)
    assert deliver(sink, [make_parcel(0), NOTICE, make_parcel(1)]) == 1
    with pytest.raises(DeliveryError, match="another type"):
        deliver(sink, [NOTICE, make_parcel(1)])
    assert client.xlen("defects:events") == 1
    client.delete("defects:coverage")
    assert deliver(sink, [NOTICE, make_parcel(1)]) == 2
    assert deliver(sink, [NOTICE, make_parcel(1)]) == 2
    assert (client.xlen("defects:events"), client.xlen("defects:coverage")) == (2, 1)
    sink.close()
    client.close()


def test_pictures_expire_and_streams_are_trimmed(valkey: str, client: Any) -> None:
    sink = RedisSink(valkey, stream_maxlen=100, frame_ttl=1000, high_water_ttl=5000)
    first = make_parcel(0, raw=True)
    for begin in range(0, 512, 32):
        deliver(sink, [first] + [make_parcel(number) for number in range(begin, begin + 32)])
    assert 100 <= client.xlen("defects:events") < 300
    assert 990 <= client.ttl(f"defects:frame:{first.id}") <= 1000
    assert 990 <= client.ttl(f"defects:raw:{first.id}") <= 1000
    assert 4990 <= client.ttl("defects:delivered:defect-monitor") <= 5000
    assert client.hlen("defects:delivered:defect-monitor") == 1
    assert not client.keys("defects:sent:*")
    sink.close()


def test_the_live_channel_has_the_same_document(valkey: str, client: Any) -> None:
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("defects:live:top")
    listener.get_message(timeout=5)
    sink = RedisSink(valkey)
    parcel = make_parcel()
    deliver(sink, [parcel, NOTICE, parcel, make_parcel(camera="side")])
    heard = [listener.get_message(timeout=5), listener.get_message(timeout=0.2)]
    assert heard[0]["data"].decode() == published(parcel)
    assert heard[1] is None
    listener.close()
    sink.close()


@every_server
def test_a_shut_channel_does_not_hold_events_up(
    make_server: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "line", "on", ">pw", "~defects:*", "resetchannels", "+@all")
        sink = RedisSink(server.url, access=RedisCredentials("line", "pw"))
        assert deliver(sink, [make_parcel(0), make_parcel(1)]) == 2
        assert deliver(sink, [make_parcel(0), make_parcel(2)]) == 2
        assert client.xlen("defects:events") == 3
        sink.close()
    assert sum("live channel" in message for message in caplog.messages) == 1


@every_server
@pytest.mark.parametrize("forbidden", ["defects:delivered:*", "defects:frame:*", "defects:events"])
def test_a_key_that_is_forbidden_leaves_no_half_delivery(
    make_server: Callable[..., Any], forbidden: str
) -> None:
    server = make_server()
    allowed = {"defects:delivered:*", "defects:frame:*", "defects:raw:*", "defects:events"} - {forbidden}
    rights = [f"~{pattern}" for pattern in sorted(allowed)]
    parcel = make_parcel()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "line", "on", ">pw", *rights, "&*", "+@all")
        sink = RedisSink(server.url, access=RedisCredentials("line", "pw"))
        for _ in range(2):
            with pytest.raises(DeliveryError, match="permit") as caught:
                deliver(sink, [parcel])
            assert caught.value.permanent
        assert client.xlen("defects:events") == 0
        client.execute_command("ACL", "SETUSER", "line", "~defects:*")
        assert deliver(sink, [parcel, parcel]) == 2
        assert client.xlen("defects:events") == 1
        assert client.get(f"defects:frame:{parcel.id}") == parcel.annotated_jpeg
        sink.close()


@every_server
@pytest.mark.parametrize("command", ["hget", "hset", "xadd"])
def test_a_command_that_is_forbidden_in_the_middle_leaves_no_half_delivery(
    make_server: Callable[..., Any], command: str
) -> None:
    server = make_server()
    parcel = make_parcel().without_images()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "line", "on", ">pw", "~*", "&*", "+@all", f"-{command}")
        sink = RedisSink(server.url, access=RedisCredentials("line", "pw"))
        for _ in range(2):
            with pytest.raises(DeliveryError, match="permit"):
                deliver(sink, [parcel])
        assert client.xlen("defects:events") == 0
        client.execute_command("ACL", "SETUSER", "line", f"+{command}")
        assert deliver(sink, [parcel, parcel]) == 2
        assert client.xlen("defects:events") == 1
        sink.close()


@every_server
def test_a_full_server_refuses_and_takes_the_same_parcel_once_it_has_room(
    make_server: Callable[..., Any],
) -> None:
    server = make_server("--maxmemory", "1")
    sink = RedisSink(server.url)
    with pytest.raises(DeliveryError, match="no memory left") as caught:
        deliver(sink, [make_parcel()])
    assert not caught.value.permanent
    with server.client() as client:
        client.config_set("maxmemory", 0)
        assert deliver(sink, [make_parcel()]) == 1
        assert client.xlen("defects:events") == 1
    sink.close()


@every_server
def test_near_the_end_of_memory_pictures_give_way_and_events_go_on(
    make_server: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    sink = RedisSink(server.url)
    with server.client() as client:
        client.set("filler", bytes(20_000_000))
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.1))
        assert deliver(sink, [make_parcel(0), NOTICE]) == deliver(sink, [make_parcel(1), NOTICE]) == 2
        client.config_set("maxmemory", 0)
        deliver(sink, [make_parcel(2)])
        events = [Event.from_json(fields[b"event"]) for _, fields in client.xrange("defects:events")]
        kept = [client.exists(f"defects:frame:{event.id}") for event in events]
    assert [event.image.frame_key is not None for event in events] == [False, False, True]
    assert kept == [0, 0, 1]
    assert sum("no images are left to remove" in message for message in caplog.messages) == 1
    sink.close()


@every_server
def test_a_server_that_evicts_keeps_getting_pictures(make_server: Callable[..., Any]) -> None:
    server = make_server("--maxmemory-policy", "volatile-ttl")
    sink = RedisSink(server.url)
    with server.client() as client:
        client.set("filler", bytes(20_000_000))
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.1))
        deliver(sink, [make_parcel(0)])
        ((_, fields),) = client.xrange("defects:events")
    assert Event.from_json(fields[b"event"]).image.frame_key is not None
    sink.close()


@every_server
def test_pictures_stay_within_their_bound_and_nothing_comes_twice(make_server: Callable[..., Any]) -> None:
    server = make_server()
    size = make_parcel(0).image_bytes
    counts = ImageCounts()
    sink = RedisSink(server.url, picture_bytes=3 * size, observer=counts)
    parcels = [make_parcel(number) for number in range(10)]
    for _ in range(2):
        for parcel in parcels:
            assert deliver(sink, [parcel]) == 1
    with server.client() as client:
        assert client.xlen("defects:events") == 10
        assert [client.get(f"defects:frame:{parcel.id}") for parcel in parcels] == [
            *[None] * 7,
            *(parcel.annotated_jpeg for parcel in parcels[7:]),
        ]
    assert (counts.removed, counts.stored) == (7, 3 * size)
    sink.close()


def test_one_slot_of_a_cluster_holds_everything(make_server: Callable[..., Any]) -> None:
    server = make_server("--cluster-enabled", "yes")
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            pass
    sink = RedisSink(f"redis+cluster://127.0.0.1:{server.port}", "{line1}")
    parcel = make_parcel(raw=True)
    assert deliver(sink, [parcel, NOTICE, parcel]) == 3
    with server.client() as client:
        assert client.xlen("{line1}:events") == 1
        assert json.loads(client.xrange("{line1}:events")[0][1][b"event"])["image"]["frame_key"] == (
            f"{{line1}}:frame:{parcel.id}"
        )
    sink.close()


@every_server
def test_with_durable_an_event_counts_as_delivered_once_it_is_on_the_servers_disk(
    make_server: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    sink = RedisSink(server.url, durable=True)
    with server.client() as client:
        version = client.info("server")["redis_version"]
        if tuple(map(int, version.split(".")[:2])) < (7, 2):
            assert deliver(sink, [make_parcel(0)]) == 1
            assert deliver(sink, [make_parcel(1)]) == 1
            assert sum("WAITAOF" in message for message in caplog.messages) == 1
            sink.close()
            return
        with pytest.raises(DeliveryError, match="appendonly yes") as caught:
            deliver(sink, [make_parcel(0)])
        assert caught.value.permanent
        client.config_set("appendonly", "yes")
        client.config_set("appendfsync", "always")
        wait_until(lambda: client.execute_command("WAITAOF", 1, 0, 1000)[0] == 1)
        assert deliver(sink, [make_parcel(0), make_parcel(1)]) == 2
        assert client.execute_command("WAITAOF", 1, 0, 1000)[0] == 1
        assert client.xlen("defects:events") == 2
    sink.close()


def test_one_mark_a_daemon_whatever_it_delivers_and_however_often_it_starts(valkey: str, client: Any) -> None:
    for start in range(40):
        sink = RedisSink(valkey, daemon="line-1")
        assert deliver(sink, [make_parcel(number) for number in range(5)], f"run-{start}") == 5
        sink.close()
    assert client.keys("defects:delivered:*") == [b"defects:delivered:line-1"]
    assert client.hlen("defects:delivered:line-1") <= 17
    assert client.memory_usage("defects:delivered:line-1") < 2_000
    assert client.xlen("defects:events") == 200
