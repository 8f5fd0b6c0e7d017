"""Check Redis: reachable, recent enough, with the rights that deliveries need, with room, and durable."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
"""Fraction of `maxmemory` from which events go without their images."""

_TRACE_LIFE = 60_000  # ms after which what is written here is gone, whatever happens to us

_SCRIPT = "return 1"

_NAMES = ("redis", "redis rights", "redis memory", "redis durability")


def check_redis(
    server: RedisConnection,
    keys: RedisKeys,
    *,
    replicas: int,
    durable: bool = False,
    optional: Sequence[str] = (),
) -> Iterator[CheckResult]:
    """Check the server below `keys`; the other arguments are those of the settings.

    `optional` are the streams that the daemon writes where the settings ask for it.
    """
    reached = _reached(server, keys, replicas)
    yield reached
    if reached.result == "not ok":
        for name in _NAMES[1:]:
            yield skipped(name, "Redis must be reachable for this check")
        return
    yield _rights(server, keys, replicas, optional)
    yield _memory(server, keys)
    yield _durability(server, keys, replicas, durable)


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
    message = f"{shown} at {server.place} answers in {seconds * 1e3:.1f} ms"
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST:
        return failed(name, f"{message}, but is too old", "install Redis 6.2 or later, or Valkey")
    if copies < replicas:
        return failed(
            name,
            f"{message}, but {copies} replicas are connected of redis.replicas = {replicas}",
            "start the replicas, or lower redis.replicas",
        )
    return ok(name, message, {"version": shown, "answer_ms": round(seconds * 1e3, 3)})


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


def _rights(server: RedisConnection, keys: RedisKeys, replicas: int, optional: Sequence[str]) -> CheckResult:
    """Do with keys of our own what a delivery does with its own, and leave none."""
    name, trace = _NAMES[1], f"doctor-{secrets.token_hex(6)}"
    for step in _steps(server, keys, trace, replicas, optional):
        try:
            with server.translate_errors(step.doing):
                step.do()
        except DeliveryError as error:
            for key in (keys.frame(trace), keys.raw(trace), keys.lease(trace), keys.sample(trace)):
                with contextlib.suppress(DeliveryError), server.translate_errors("deleting"):
                    server.client.set(key, "", px=1)
            mark = keys.high_water_mark(trace)
            for delete in (partial(server.client.hdel, mark, trace), partial(server.client.expire, mark, 0)):
                with contextlib.suppress(DeliveryError), server.translate_errors("deleting"):
                    delete()
            return failed(name, str(error), _how_to_permit(error, step.right, keys))
    return ok(
        name,
        f"keys below {keys.prefix} can be written, read and deleted, scripts run, channels published to",
    )


def _steps(
    server: RedisConnection, keys: RedisKeys, trace: str, replicas: int, optional: Sequence[str]
) -> Iterator[_PermissionProbe]:
    client, mark, ledger = server.client, keys.high_water_mark(trace), keys.image_ledger
    streams = (keys.events, keys.coverage, keys.incidents, *optional)
    strings = [keys.frame(trace), keys.raw(trace), keys.lease(trace)]
    ledgers = [ledger]
    if keys.samples in optional:
        strings.append(keys.sample(trace))
        ledgers.append(keys.sample_ledger)
    preview, challenge, answer = keys.preview(trace), keys.challenge(trace), keys.challenge_answer(trace)
    # Of the ledger and the streams nothing is changed: "only if it is there", and an id that none can have.
    probes: list[tuple[str, str, Callable[[], object]]] = []
    for key in streams:
        probes += [
            ("+xlen", key, partial(client.xlen, key)),
            ("+xadd", key, partial(_try_to_add, client, key)),
        ]
    for key in strings:
        probes.append(("+set", key, partial(client.set, key, "doctor", px=_TRACE_LIFE)))
        read = client.get if key == keys.lease(trace) else client.exists
        probes.append(("+get" if read == client.get else "+exists", key, partial(read, key)))
        probes.append(("+unlink", key, partial(client.unlink, key)))
    probes += [
        ("+hset", mark, partial(client.hset, mark, trace, 0)),
        ("+expire", mark, partial(client.expire, mark, _TRACE_LIFE // 1000)),
        ("+hget", mark, partial(client.hget, mark, trace)),
        ("+hlen", mark, partial(client.hlen, mark)),
        ("+hkeys", mark, partial(client.hkeys, mark)),
        ("+hdel", mark, partial(client.hdel, mark, trace)),
        ("+exists", keys.watching, partial(client.exists, keys.watching)),
        ("+expire", preview, partial(client.expire, preview, 0)),
        ("+hset", preview, partial(client.hset, preview, "doctor", 0)),
        ("+expire", preview, partial(client.expire, preview, 0)),  # removes it
        ("+blpop", challenge, partial(client.blpop, [challenge], timeout=0.01)),
        ("+expire", answer, partial(client.expire, answer, 0)),
        ("+rpush", answer, partial(client.rpush, answer, "doctor")),
        ("+expire", answer, partial(client.expire, answer, 0)),  # removes it
        ("+zcard", ledger, partial(client.zcard, ledger)),
    ]
    for key in ledgers:
        probes += [
            ("+zadd", key, partial(client.zadd, key, {trace: 0}, xx=True)),
            ("+zrange", key, partial(client.zrange, key, 0, 0)),
            ("+zrem", key, partial(client.zrem, key, trace)),
        ]
    node = server.node_for(keys.events)
    probes += [
        ("+xrange", keys.events, partial(node.xrange, keys.events, count=1)),
        ("+xinfo|groups", keys.events, partial(_ask, node.xinfo_groups, keys.events)),
        ("+xpending", keys.events, partial(_ask, node.xpending, keys.events, trace)),
    ]
    yield _PermissionProbe("TIME", "+time", node.time)
    for right, key, do in probes:
        pattern = key.removesuffix(trace) + "*" if key.endswith(trace) else key
        yield _PermissionProbe(f"{right[1:].upper()} {key}", f"{right} ~{pattern}", do)
    everything = (*streams, *strings, mark, preview, keys.watching, *ledgers)
    script = partial(client.eval, _SCRIPT, len(everything), *everything)
    yield _PermissionProbe("running a script", "+eval", script)
    channel = keys.live(trace)
    right = f"+publish &{keys.live('*')}"
    yield _PermissionProbe(f"publishing to {channel}", right, partial(client.publish, channel, "{}"))
    if replicas:
        yield _PermissionProbe("waiting for replicas", "+wait", partial(_wait_for_none, server, keys))


def _wait_for_none(server: RedisConnection, keys: RedisKeys) -> None:
    server.node_for(keys.events).execute_command("WAIT", 0, 1)


def _ask(question: Callable[..., object], *arguments: str) -> None:
    """Ask for a stream or a group that need not exist."""
    try:
        question(*arguments)
    except NoPermissionError:
        raise
    except ResponseError as error:
        if "no such key" not in str(error).lower():
            raise


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
    # A random or least used key with a time to live may be a high-water mark, and events would come twice.
    if policy.startswith("volatile") and policy != "volatile-ttl":
        return failed(
            name,
            f"maxmemory-policy {policy} may remove what tells delivered events from new ones",
            "set maxmemory-policy to noeviction or to volatile-ttl",
            figures,
        )
    if policy.startswith("allkeys"):
        return failed(
            name,
            f"maxmemory-policy {policy} lets the server throw events away unread",
            "set maxmemory-policy to noeviction, or to volatile-ttl, which removes old images only",
            figures,
        )
    if not limit:
        return ok(
            name,
            f"{format_bytes(used)} used, no limit",
            figures,
            advice="set maxmemory, so that images cannot fill the machine's memory",
        )
    message = f"{format_bytes(used)} of {format_bytes(limit)} used ({policy})"
    if used > _FULL * limit and policy == "noeviction":
        return failed(
            name,
            f"{message}: events go without images",
            "raise maxmemory, or lower redis.frame_ttl or redis.stream_maxlen",
            figures,
        )
    return ok(name, message, figures)


def _durability(server: RedisConnection, keys: RedisKeys, replicas: int, durable: bool) -> CheckResult:
    """Check whether an acknowledged event outlives a restart or a power cut of the server."""
    name = _NAMES[3]
    remedy = "set `appendonly yes`; deploy/redis/defect-monitor.conf has all settings that matter"
    try:
        with server.translate_errors("asking for its persistence"):
            state = _info(server, keys, "persistence")
        if durable:
            with server.translate_errors("waiting for its disk"):
                server.node_for(keys.events).execute_command("WAITAOF", 0, 0, 1)
    except DeliveryError as error:
        if "unknown command" not in str(error):
            return failed(name, str(error), _how_to_permit(error, "+info +waitaof", keys))
        return failed(
            name,
            "redis.durable has no effect: the server does not know WAITAOF",
            "install Redis 7.2 or later, or Valkey, or remove redis.durable",
        )
    figures: dict[str, Figure] = {"appendonly": int(state.get("aof_enabled", 0))}
    for kind in ("aof_last_write_status", "rdb_last_bgsave_status"):
        if state.get(kind, "ok") != "ok":
            return failed(name, f"the server cannot write to its disk ({kind})", "see its log", figures)
    if not figures["appendonly"]:
        lost = "acknowledged events are lost when the server restarts or loses power: appendonly is no"
        return failed(name, lost, remedy, figures)
    asked = " before an event counts as delivered" if durable else ""
    return ok(
        name,
        f"the append-only file is on, and written{asked}",
        figures,
        advice="" if durable or replicas else "redis.durable = true makes the daemon wait for the disk",
    )
