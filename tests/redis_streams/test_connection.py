"""What goes wrong with a server is said in one sentence that never has the password."""

import signal
import socket
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError, UsageError
from monitor.redis_streams.address import RedisCredentials, place_of
from monitor.redis_streams.subscriber import Subscriber
from tests.support.events import deliver, make_parcel

SECRET = "tr0ub4dor&3"


def told(error: BaseException) -> str:
    """Everything a log could show of an error, its causes included."""
    return "".join(traceback.format_exception(error))


def failure(url: str, **options: Any) -> DeliveryError:
    sink = RedisSink(url, **({"timeout": 0.3} | options))
    with pytest.raises(DeliveryError) as caught:
        deliver(sink, [make_parcel()])
    sink.close()
    assert SECRET not in told(caught.value)
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
    error = failure(f"unix:///no/such/socket?password={SECRET}")
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
        ("redis://127.0.0.1:{1}/0", {}, "wants a password"),
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
    ],
)
@pytest.mark.parametrize("reader", [RedisSink, Subscriber])
def test_an_url_that_is_none(url: str, reader: Callable[[str], object]) -> None:
    with pytest.raises(UsageError, match="Redis URL") as caught:
        reader(url)
    assert SECRET not in told(caught.value)


def test_a_cluster_is_refused_without_a_hash_tag() -> None:
    with pytest.raises(UsageError, match=r"hash tag, such as \{defects\}"):
        RedisSink("redis+cluster://localhost:7000", "defects")


def test_a_place_has_no_password() -> None:
    assert place_of(f"rediss://user:{SECRET}@host:1234/2") == "host:1234"
    assert place_of("redis://") == "localhost:6379"
