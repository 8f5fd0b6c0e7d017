"""Redis: in reach, of a version that will do, with the rights that deliveries need, and with room."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from monitor.errors import DeliveryError
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys
from monitor.tools.doctor.result import CheckResult, Figure, failed, format_bytes, ok, skipped

_OLDEST = (6, 2)


_FULL = 0.9
"""Share of `maxmemory` from which events go without their pictures."""


_TRACE_LIFE = 60_000  # ms after which what is written here is gone, whatever happens to us


_SCRIPT = "return redis.call('EXISTS', KEYS[1])"


_NAMES = ("redis", "redis rights", "redis memory")


def check_redis(server: RedisConnection, keys: RedisKeys, *, replicas: int) -> Iterator[CheckResult]:
    """The server in use, below `keys`; `replicas` are those that must have an event."""
    reached = _reached(server, keys, replicas)
    yield reached
    if reached.result == "not ok":
        for name in _NAMES[1:]:
            yield skipped(name, "Redis has to be in reach for that")
        return
    yield _rights(server, keys, replicas)
    yield _memory(server, keys)


@dataclass(frozen=True, slots=True)
class _PermissionProbe:
    doing: str
    right: str
    do: Callable[[], object]


def _reached(server: RedisConnection, keys: RedisKeys, replicas: int) -> CheckResult:
    name = _NAMES[0]
    try:
        with server.translate_errors("asking for its version"):
            server.client.xlen(keys.events)  # makes the connection, which is not to be timed
            began = time.monotonic()
            server.client.xlen(keys.events)
            seconds = time.monotonic() - began
            about = _info(server, keys, "server")
            copies = _info(server, keys, "replication").get("connected_slaves", 0) if replicas else 0
    except DeliveryError as error:
        return failed(name, str(error), _how_to_reach(error, keys))
    version = str(about.get("redis_version", "0"))
    shown = f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {version}"
    told = f"{shown} at {server.place} answers in {seconds * 1e3:.1f} ms"
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST:
        return failed(name, f"{told}, but is too old", "install Redis 6.2 or later, or Valkey")
    if copies < replicas:
        return failed(
            name,
            f"{told}, but {copies} replicas are connected of redis.replicas = {replicas}",
            "start the replicas, or lower redis.replicas",
        )
    return ok(name, told, {"version": shown, "answer_ms": round(seconds * 1e3, 3)})


def _how_to_reach(error: DeliveryError, keys: RedisKeys) -> str:
    if isinstance(error.__cause__, NoPermissionError):
        return f"give the user what deploy/redis/defect-monitor.acl lists, for the prefix {keys.prefix}"
    if "another type" in str(error):
        return f"another program uses the key {keys.events}: set another redis.prefix"
    if error.permanent:
        return "check redis.username and redis.password, or those in redis.url"
    return "is the server running, does redis.url name it, and does no firewall stand between?"


def _info(server: RedisConnection, keys: RedisKeys, section: str) -> Mapping[str, Any]:
    """A section of the server's word about itself; of a cluster, of the node that holds our keys."""
    found: Mapping[str, Any] = server.node_for(keys.events).info(section)
    return found


def _rights(server: RedisConnection, keys: RedisKeys, replicas: int) -> CheckResult:
    """Does with keys of our own what a delivery does with its own, and leaves none."""
    name, trace = _NAMES[1], f"doctor-{secrets.token_hex(6)}"
    text = [keys.frame(trace), keys.raw(trace), keys.high_water_mark(trace), keys.lease(trace)]
    for step in _steps(server, keys, trace, text, replicas):
        try:
            with server.translate_errors(step.doing):
                step.do()
        except DeliveryError as error:
            for key in text:
                with contextlib.suppress(DeliveryError), server.translate_errors("deleting"):
                    server.client.set(key, "", px=1)
            return failed(name, str(error), _how_to_permit(error, step.right, keys))
    return ok(
        name,
        f"keys below {keys.prefix} can be written, read and deleted, scripts run, channels published to",
    )


def _steps(
    server: RedisConnection, keys: RedisKeys, trace: str, text: list[str], replicas: int
) -> Iterator[_PermissionProbe]:
    client = server.client
    for key in (keys.events, keys.coverage, keys.incidents):
        yield _PermissionProbe(f"asking for the length of {key}", f"+xlen ~{key}", partial(client.xlen, key))
        yield _PermissionProbe(f"adding to {key}", f"+xadd ~{key}", partial(_try_to_add, client, key))
    for key in text:
        pattern = key.removesuffix(trace) + "*"
        yield _PermissionProbe(
            f"writing {key}", f"+set ~{pattern}", partial(client.set, key, "doctor", px=_TRACE_LIFE)
        )
        yield _PermissionProbe(f"reading {key}", f"+get ~{pattern}", partial(client.get, key))
        yield _PermissionProbe(f"asking for {key}", f"+exists ~{pattern}", partial(client.exists, key))
        yield _PermissionProbe(f"deleting {key}", f"+unlink ~{pattern}", partial(client.unlink, key))
    ledger = keys.image_ledger
    for right, do in (
        ("+zadd", partial(client.zadd, ledger, {trace: 0}, xx=True)),  # "only if it is there": it is not
        ("+zrange", partial(client.zrange, ledger, 0, 0)),
        ("+zcard", partial(client.zcard, ledger)),
        ("+zrem", partial(client.zrem, ledger, trace)),
    ):
        yield _PermissionProbe(f"using {ledger}", f"{right} ~{ledger}", do)
    yield _PermissionProbe("running a script", "+eval", partial(client.eval, _SCRIPT, 1, text[0]))
    channel = keys.live(trace)
    right = f"+publish &{keys.live('*')}"
    yield _PermissionProbe(f"publishing to {channel}", right, partial(client.publish, channel, "{}"))
    if replicas:
        yield _PermissionProbe("waiting for replicas", "+wait", partial(_wait_for_none, server, keys))


def _wait_for_none(server: RedisConnection, keys: RedisKeys) -> None:
    server.node_for(keys.events).execute_command("WAIT", 0, 1)


def _try_to_add(client: Any, key: str) -> None:
    """Ask for an entry with the one id that no entry can have.

    The server looks at rights, memory and whether it takes writes at all before it refuses the id, so this
    tries all of an addition but the entry. Subscribers would see a real one.
    """
    try:
        client.execute_command("XADD", key, "0-0", "doctor", "")
    except ResponseError as error:
        if "greater than 0-0" not in str(error):
            raise


def _how_to_permit(error: DeliveryError, right: str, keys: RedisKeys) -> str:
    if isinstance(error.__cause__, NoPermissionError):
        return f"give the user `{right}`; deploy/redis/defect-monitor.acl lists all that is needed"
    if "another type" in str(error):
        return f"another program uses keys below {keys.prefix}: set another redis.prefix"
    return "see the server's log; replicas and servers without memory or disk take no writes"


def _memory(server: RedisConnection, keys: RedisKeys) -> CheckResult:
    name = _NAMES[2]
    try:
        with server.translate_errors("asking for its memory"):
            memory = _info(server, keys, "memory")
    except DeliveryError as error:
        return failed(name, str(error), _how_to_permit(error, "+info", keys))
    limit, used = int(memory.get("maxmemory", 0)), int(memory["used_memory"])
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    figures: dict[str, Figure] = {"used_bytes": used, "maxmemory_bytes": limit, "policy": policy}
    if policy.startswith("allkeys"):
        return failed(
            name,
            f"maxmemory-policy {policy} lets the server throw events away unread",
            "set maxmemory-policy to noeviction, or to volatile-ttl, which takes old pictures alone",
            figures,
        )
    if not limit:
        return ok(
            name,
            f"{format_bytes(used)} used, no limit",
            figures,
            advice="set maxmemory, so that pictures cannot fill the machine's memory",
        )
    told = f"{format_bytes(used)} of {format_bytes(limit)} used ({policy})"
    if used > _FULL * limit and policy == "noeviction":
        return failed(
            name,
            f"{told}: events go without pictures",
            "raise maxmemory, or lower redis.frame_ttl or redis.stream_maxlen",
            figures,
        )
    return ok(name, told, figures)
