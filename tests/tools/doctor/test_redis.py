"""Redis, healthy and broken in each way that affects the daemon."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from monitor.redis_streams.address import RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys
from monitor.tools.doctor.redis import check_redis
from monitor.tools.doctor.result import CheckResult
from tests.support.acl import CONVENIENCE, DEPLOY, each_right_removed, rules_of
from tests.support.redis_servers import ServerProcess, make_server, program, wait_until

__all__ = ["make_server", "program"]


KEYS = RedisKeys("line")


RULES = rules_of("defect-monitor.acl")


USER = RedisCredentials("defect-monitor", "change-me")


def ask(
    url: str, keys: RedisKeys = KEYS, replicas: int = 0, access: RedisCredentials | None = None
) -> dict[str, CheckResult]:
    server = RedisConnection(url, keys, timeout=2.0, access=access or RedisCredentials())
    try:
        return {
            answer.name: answer
            for answer in check_redis(server, keys, replicas=replicas, optional=[keys.verdicts, keys.samples])
        }
    finally:
        server.close()


@pytest.fixture
def client(valkey: str) -> Iterator[Any]:
    with redis.Redis.from_url(valkey, protocol=2) as plain:
        yield plain
        plain.config_set("maxmemory", "0")
        plain.config_set("maxmemory-policy", "noeviction")
        plain.config_set("appendonly", "no")
        plain.execute_command("ACL", "DELUSER", "defect-monitor")


def test_a_good_server_is_ok_and_nothing_is_left_there(valkey: str, client: Any) -> None:
    client.config_set("maxmemory", "256mb")
    client.config_set("appendonly", "yes")
    answers = ask(valkey)
    client.config_set("appendonly", "no")
    assert {answer.result for answer in answers.values()} == {"ok"}, answers
    assert "Valkey" in answers["redis"].message
    assert "of 268 MB used" in answers["redis memory"].message
    wait_until(lambda: client.keys("*") == [])


def test_events_of_a_running_daemon_are_left_alone(valkey: str, client: Any) -> None:
    client.xadd("line:events", {"id": "a"})
    before = client.xinfo_stream("line:events")
    assert ask(valkey)["redis rights"].result == "ok"
    assert client.xinfo_stream("line:events") == before


def test_the_daemons_least_rights_are_enough_and_each_that_lacks_is_noticed(valkey: str, client: Any) -> None:
    client.execute_command("ACL", "SETUSER", *RULES)
    keys = RedisKeys("defects")
    client.config_set("appendonly", "yes")
    answers = ask(valkey, keys, access=USER)
    assert {answer.result for answer in answers.values()} == {"ok"}, answers
    for right, others in each_right_removed(RULES, CONVENIENCE - {"+xlen", "+xinfo|groups", "+xpending"}):
        client.execute_command("ACL", "SETUSER", "defect-monitor", "reset")
        client.execute_command("ACL", "SETUSER", *others)
        wrong = [answer for answer in ask(valkey, keys, access=USER).values() if answer.result == "not ok"]
        assert wrong, f"{right} lacks, and is not missed"
        assert "defect-monitor.acl" in wrong[0].remedy
    wait_until(lambda: client.keys("*") == [])


def test_the_right_that_lacks_is_named(valkey: str, client: Any) -> None:
    client.execute_command("ACL", "SETUSER", *dict(each_right_removed(RULES, set()))["+xadd"])
    answer = ask(valkey, RedisKeys("defects"), access=USER)["redis rights"]
    assert "+xadd ~defects:events" in answer.remedy


def test_a_server_that_is_away_is_reported_once(valkey: str) -> None:
    answers = ask("redis://user:hunter2@127.0.0.1:1/0")
    assert [answer.result for answer in answers.values()] == ["not ok", "skipped", "skipped", "skipped"]
    assert "cannot be reached" in answers["redis"].message
    assert "hunter2" not in str(answers)


def test_a_wrong_password_is_reported_without_it(make_server: Callable[..., ServerProcess]) -> None:
    server = make_server("--requirepass", "right")
    answers = ask(server.url.replace("://", "://:hunter2@"))
    assert answers["redis"].result == "not ok"
    assert "refuses the user or password" in answers["redis"].message
    assert "redis.password" in answers["redis"].remedy
    assert "hunter2" not in str(answers)


def test_a_full_server_is_not_ok(valkey: str, client: Any) -> None:
    client.set("much", bytes(2_000_000))
    client.config_set("maxmemory", "2mb")
    answers = ask(valkey)
    assert "no memory left" in answers["redis rights"].message
    assert answers["redis memory"].result == "not ok"
    client.config_set("maxmemory-policy", "allkeys-lru")
    assert "throw events away" in ask(valkey)["redis memory"].message


def test_a_key_of_another_type_is_not_ok(valkey: str, client: Any) -> None:
    client.set("line:coverage", "x")
    answer = ask(valkey)["redis rights"]
    assert "another type" in answer.message
    assert "another redis.prefix" in answer.remedy
    client.set("line:events", "x")
    answer = ask(valkey)["redis"]
    assert answer.result == "not ok"
    assert "line:events" in answer.remedy


def test_a_replica_takes_no_writes(make_server: Callable[..., ServerProcess], valkey: str) -> None:
    host, port = valkey.removeprefix("redis://").removesuffix("/0").split(":")
    replica = make_server("--replicaof", f"{host} {port}")
    answer = ask(replica.url)["redis rights"]
    assert answer.result == "not ok"
    assert "is a replica" in answer.message


def test_replicas_that_are_asked_for_must_be_there(make_server: Callable[..., ServerProcess]) -> None:
    answer = ask(make_server().url, replicas=1)["redis"]
    assert answer.result == "not ok"
    assert "0 replicas are connected of redis.replicas = 1" in answer.message


def test_replicas_that_are_there_are_enough(make_server: Callable[..., ServerProcess]) -> None:
    primary = make_server()
    make_server("--replicaof", f"127.0.0.1 {primary.port}")
    wait_until(lambda: ask(primary.url, replicas=1)["redis"].result == "ok")
    assert ask(primary.url, replicas=1)["redis rights"].result == "ok"


def test_a_server_that_forgets_acknowledged_events_is_not_ok(valkey: str, client: Any) -> None:
    answer = ask(valkey)["redis durability"]
    assert answer.result == "not ok"
    assert "appendonly is no" in answer.message
    assert "deploy/redis/defect-monitor.conf" in answer.remedy
    client.config_set("appendonly", "yes")
    assert ask(valkey)["redis durability"].result == "ok"


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-random", "allkeys-lru"])
def test_an_eviction_policy_that_may_take_more_than_images_is_not_ok(
    valkey: str, client: Any, policy: str
) -> None:
    client.config_set("maxmemory-policy", policy)
    answer = ask(valkey)["redis memory"]
    assert answer.result == "not ok"
    assert "volatile-ttl" in answer.remedy


def test_the_shipped_configuration_is_accepted_and_ok(make_server: Callable[..., ServerProcess]) -> None:
    lines = (DEPLOY / "defect-monitor.conf").read_text().splitlines()
    options = [line.split() for line in lines if line and not line.startswith("#")]
    server = make_server(*(part for name, value in options for part in (f"--{name}", value)))
    assert {answer.result for answer in ask(server.url).values()} == {"ok"}
