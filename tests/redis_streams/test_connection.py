"""Every failure of a server is one sentence that never holds the password."""

import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError, UsageError
from monitor.redis_streams.address import RedisAddress, RedisCredentials, parse_redis_url
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.consumer_group import UnreadableEntry
from monitor.redis_streams.keys import RedisKeys
from monitor.redis_streams.subscriber import Subscriber
from tests.support.events import deliver, make_parcel

SECRET = "tr0ub4dor&3"


def shown_of(error: BaseException) -> str:
    """Everything a log could show of an error, its causes included."""
    return "".join(traceback.format_exception(error))


def failure(url: str, **options: Any) -> DeliveryError:
    sink = RedisSink(url, **({"timeout": 0.3} | options))
    with pytest.raises(DeliveryError) as caught:
        deliver(sink, [make_parcel()])
    sink.close()
    assert SECRET not in shown_of(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    return caught.value


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        error = failure(f"redis://:{SECRET}@127.0.0.1:{port}/0")
    assert not error.permanent
    assert str(error) == f"Redis at 127.0.0.1:{port} cannot be reached: Connection refused"


def test_no_such_host() -> None:
    error = failure(f"redis://:{SECRET}@no-such-host.invalid:6379/0", timeout=5.0)
    assert str(error).startswith("Redis at no-such-host.invalid:6379 cannot be reached: ")
    assert not error.permanent


def test_no_such_socket() -> None:
    error = failure(f"unix:///no/such/socket?password={quote(SECRET)}")
    assert str(error) == "Redis at /no/such/socket cannot be reached: No such file or directory"


def test_a_server_that_does_not_answer(make_server: Callable[..., Any]) -> None:
    server = make_server()
    server.signal(signal.SIGSTOP)
    error = failure(server.url)
    assert "did not answer in time" in str(error)
    assert not error.permanent


def test_something_that_is_no_redis() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        error = failure(f"redis://127.0.0.1:{other.getsockname()[1]}/0")
    assert not error.permanent


@pytest.mark.parametrize("code", ["ERR", "WRONGPASS", "ODD", "NOPERM"])
def test_a_server_that_repeats_the_password(code: str) -> None:
    def answer() -> None:
        peer, _ = other.accept()
        with peer:
            while peer.recv(4096):
                peer.sendall(f"-{code} '{SECRET}' is not what was expected\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        failure(f"redis://:{SECRET}@127.0.0.1:{other.getsockname()[1]}/0", timeout=2.0)
        thread.join(10)


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("redis://:{}@127.0.0.1:{}/0", {}, "refuses the user or password"),
        ("redis://nobody:{}@127.0.0.1:{}/0", {}, "refuses the user or password"),
        (
            "redis://127.0.0.1:{1}/0",
            {"access": RedisCredentials(password=SECRET)},
            "refuses the user or password",
        ),
        ("redis://127.0.0.1:{1}/0", {}, "requires a password"),
    ],
)
def test_a_wrong_password_or_none(
    make_server: Callable[..., Any], url: str, options: dict[str, Any], says: str
) -> None:
    server = make_server("--requirepass", "another")
    error = failure(url.format(SECRET, server.port), **options)
    assert says in str(error)
    assert error.permanent


def test_the_right_password_opens(make_server: Callable[..., Any]) -> None:
    server = make_server("--requirepass", SECRET)
    for url, options in (
        (f"redis://:tr0ub4dor%263@127.0.0.1:{server.port}/0", {}),
        (server.url, {"access": RedisCredentials(password=SECRET)}),
        (server.url, {"access": RedisCredentials("default", SECRET)}),
    ):
        sink = RedisSink(url, **options)
        sink.check()
        sink.close()


@pytest.mark.parametrize("key", ["defects:events", "defects:coverage"])
def test_a_key_of_another_type(valkey: str, client: Any, key: str) -> None:
    client.set(key, "in the way")
    sink = RedisSink(valkey)
    with pytest.raises(DeliveryError, match="another type") as caught:
        sink.check()
    assert caught.value.permanent
    sink.close()


def test_a_replica_takes_no_writes(make_server: Callable[..., Any]) -> None:
    server = make_server("--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes")
    error = failure(server.url, timeout=2.0)
    assert "is a replica" in str(error)
    assert not error.permanent


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost",
        "redis+else://localhost",
        "redis+sentinel://localhost",
        "redis+sentinel:///line",
        f"redis+sentinel://:{SECRET}@localhost:port/line",
        f"redis://:{SECRET}@host:port/0",
        f"redis://u:/{SECRET}@h/0",
        f"redis://:a/{SECRET}@h/0",
        f"redis://:{SECRET}%fc@h/0",
        f"redis://:{SECRET}/0",
        "unix://",
        "unix+cluster:///run/redis.sock",
    ],
)
@pytest.mark.parametrize("reader", [RedisSink, Subscriber])
def test_an_url_that_is_none(url: str, reader: Callable[[str], object]) -> None:
    with pytest.raises(UsageError, match="Redis URL") as caught:
        reader(url)
    assert SECRET not in shown_of(caught.value)


def test_a_cluster_is_refused_without_a_hash_tag() -> None:
    with pytest.raises(UsageError, match=r"hash tag, such as \{defects\}"):
        RedisSink("redis+cluster://localhost:7000", "defects")


def test_a_place_has_no_password() -> None:
    keys = RedisKeys("defects")
    for url, place in (
        (f"rediss://user:{quote(SECRET)}@host:1234/2", "host:1234"),
        ("redis://", "localhost:6379"),
        (f"unix://user:{quote(SECRET)}@/run/redis@1.sock?db=1", "/run/redis@1.sock"),
        (f"redis+sentinel://:{quote(SECRET)}@a,b:1/line/2", "a:26379,b:1 (Sentinel, line)"),
    ):
        assert RedisConnection(url, keys, timeout=1).place == place


@pytest.mark.parametrize(
    "option",
    [
        "protocol=3",
        "decode_responses=true",
        "socket_timeout=0.01",
        "health_check_interval=30",
        "encoding=utf-16",
        "db=0&max_connections=1",
        "client_name=other&retry_on_timeout=true&timeout=1",
    ],
)
def test_options_for_other_clients_change_nothing(valkey: str, client: Any, option: str) -> None:
    client.xadd("defects:events", {"id": "a", "event": "{}"})
    unreadable: list[UnreadableEntry] = []
    with Subscriber(f"{valkey}?{option}", on_unreadable=unreadable.append, interval=0.05) as subscriber:
        assert list(subscriber.stored()) == []
        began = time.monotonic()
        assert list(subscriber.follow("0", stop=lambda: time.monotonic() - began > 0.5)) == []
    assert len(unreadable) == 2
    sink = RedisSink(f"{valkey}?{option}")
    sink.check()
    sink.close()


def test_the_database_of_an_option_counts(valkey: str) -> None:
    connection = RedisConnection(f"{valkey}?db=3", RedisKeys("defects"), timeout=2)
    assert connection.client.client_info()["db"] == 3
    connection.close()


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("redis://h/0?nonsense=1", "nonsense"),
        ("redis://h/0?connection_class=x", "connection_class"),
        ("rediss://h/0?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("rediss://h/0?ssl_check_hostname=false", "ssl_check_hostname"),
        ("redis+sentinel://h:1/line?nonsense=1", "nonsense"),
        ("redis+cluster://h:1?nonsense=1", "nonsense"),
        ("unix:///run/redis.sock?nonsense=1", "nonsense"),
        ("redis://h/0?ssl_ca_certs=a.pem", "must begin with rediss"),
        ("redis://h/0?db=one", "redis://"),
        (f"redis://h/0?{SECRET}=1", "…"),
    ],
)
@pytest.mark.parametrize("reader", [RedisSink, Subscriber])
def test_an_option_that_is_not_supported_is_one_sentence(
    url: str, names: str, reader: Callable[[str], object]
) -> None:
    with pytest.raises(UsageError, match="Redis URL") as caught:
        reader(url)
    assert caught.value.exit_code == 2
    assert names in str(caught.value)
    assert "\n" not in str(caught.value)
    assert SECRET not in shown_of(caught.value)


@pytest.mark.parametrize(
    "option", ["ssl_cert_reqs=required", "ssl_check_hostname=true", "ssl_ca_certs=a.pem"]
)
def test_options_of_tls_that_keep_it_safe_are_taken(option: str) -> None:
    RedisSink(f"rediss://h/0?{option}").close()


def parsed(url: str) -> RedisAddress | UsageError:
    try:
        return parse_redis_url(url)
    except UsageError as error:
        return error


@given(st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=4), st.sampled_from("@#/?%:"))
@pytest.mark.parametrize("kind", ["redis", "rediss", "redis+sentinel"])
def test_a_password_is_never_shown_whether_encoded_or_not(kind: str, letters: str, special: str) -> None:
    password = f"{letters[:2]}{special}{letters[2:]}Zq"
    path = "/line/0" if kind == "redis+sentinel" else "/0"
    encoded = parse_redis_url(f"{kind}://user:{quote(password, safe='')}@host:1{path}")
    assert password in encoded.passwords
    assert "Zq" not in encoded.place
    raw = parsed(f"{kind}://user:{password}@host:1{path}")
    if isinstance(raw, UsageError):
        assert "Zq" not in shown_of(raw)
    else:
        assert raw.place == encoded.place, "a part of the password was taken for a host"


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@pytest.mark.parametrize("character", "#/?")
def test_a_character_that_must_be_encoded_is_explained(scheme: str, character: str) -> None:
    for url in (f"{scheme}://user:{SECRET}{character}x@h:1/0", f"{scheme}://:{character}{SECRET}@h/0"):
        with pytest.raises(UsageError, match="percent-encoded") as caught:
            parse_redis_url(url)
        assert SECRET not in shown_of(caught.value)
