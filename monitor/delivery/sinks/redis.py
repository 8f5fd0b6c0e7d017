"""Delivery to Redis or Valkey: one script call for a batch, each item in it atomic and once only."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from monitor.errors import DeliveryError
from monitor.events.messages import EventMessage, NoticeMessage, OutboxMessage
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys

logger = logging.getLogger(__name__)


_NEARLY_FULL = 0.9


_SCRIPT = "redis.lua"


StripReason = Literal["redis-full", "too-large"]
"""Why an event went without its pictures: the server's memory, or its pictures exceed what all may take."""


@dataclass(frozen=True, slots=True)
class ImageStats:
    """Pictures in Redis: bytes kept now, as last told, and since the start removed for newer or withheld."""

    kept_bytes: int = 0
    removed: int = 0
    withheld: Mapping[StripReason, int] = field(default_factory=dict)


class _ScriptReply(NamedTuple):
    """What the script gives."""

    delivered: int
    channel_error: bytes
    removed: int
    kept: int
    not_freed: int


class RedisSink:
    """Delivers to the server at `url` (see `monitor.redis_streams.connection.Server`) below `prefix`.

    `stream_maxlen` is how many entries a stream keeps, about; `frame_ttl` how many seconds a picture is
    kept; `mark_ttl` for how many seconds a second delivery of the same id is known for one, which must be
    longer than a parcel can wait between a delivery and its repetition. `timeout` is in seconds. `replicas`
    is how many replicas must have an item before it counts as delivered, so that it outlives a failover.
    `picture_bytes` is what all pictures below the prefix may take: the oldest are removed for the newest.

    On a server that refuses writes at its `maxmemory` (`noeviction`), pictures give way before events do once
    nine tenths are used: the oldest are removed, and where none is left events go without theirs and say so.
    A server that evicts (`volatile-ttl` for one) makes room by itself.

    The script needs Redis 6.2 or Valkey; on a cluster, a prefix with a hash tag.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "defects",
        *,
        stream_maxlen: int = 10_000,
        frame_ttl: int = 86_400,
        high_water_ttl: int = 7 * 86_400,
        picture_bytes: int = 100_000_000,
        replicas: int = 0,
        timeout: float = 2.0,
        access: RedisCredentials = NO_CREDENTIALS,
    ) -> None:
        self.keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self.keys, timeout=timeout, access=access)
        self._replicas, self._patience = replicas, max(1, int(timeout * 500))
        self._maxlen, self._frame_ttl, self._mark_ttl = stream_maxlen, frame_ttl, high_water_ttl
        self._picture_bytes = picture_bytes
        self._withheld: Counter[str] = Counter()
        self.image_ledger = ImageStats()
        self._script = Path(__file__).with_name(_SCRIPT).read_text(encoding="utf-8")
        self._live_is_heard = True
        self._short = False

    def deliver(self, items: Sequence[OutboxMessage]) -> int:
        """Deliver in order; see `monitor.delivery.sinks.base.Sink`."""
        short = self._lacks_memory(sum(item.size for item in items))
        withheld = [self._why_withheld(item, short) for item in items]
        items = [
            item.without_images() if why and isinstance(item, EventMessage) else item
            for item, why in zip(items, withheld, strict=True)
        ]
        reply = self._run(items)
        self._tell_of_channel(reply.channel_error.decode(errors="replace"))
        self._count_withheld(items[: reply.delivered], withheld)
        return reply.delivered

    def _run(self, items: Sequence[OutboxMessage], to_free: int = 0) -> _ScriptReply:
        """Have the script remove so many bytes of pictures, the oldest first, then deliver the items."""
        keys = [self.keys.image_ledger]
        arguments: list[str | bytes | int] = [self._mark_ttl, self._frame_ttl, self._picture_bytes, to_free]
        arguments += [self.keys.frame(""), self.keys.raw("")]
        for item in items:
            item_keys, item_arguments = self._script_arguments(item)
            keys += item_keys
            arguments += item_arguments
        with self._server.translate_errors("publishing"):
            # The whole script each time: it is small beside a picture, and never has to be loaded again.
            reply = _ScriptReply(*self._evaluated(len(keys), *keys, *arguments))
        before = self.image_ledger
        self.image_ledger = ImageStats(reply.kept, before.removed + reply.removed, before.withheld)
        return reply

    def withheld(self) -> Counter[str]:
        """How many events were delivered without their pictures since last asked, by camera."""
        withheld, self._withheld = self._withheld, Counter()
        return withheld

    def _why_withheld(self, item: OutboxMessage, short: bool) -> StripReason | None:
        if not item.image_bytes:
            return None
        if item.image_bytes > self._picture_bytes:
            return "too-large"
        return "redis-full" if short else None

    def _count_withheld(
        self, delivered: Sequence[OutboxMessage], withheld: Sequence[StripReason | None]
    ) -> None:
        causes = Counter(self.image_ledger.withheld)
        for item, why in zip(delivered, withheld, strict=False):
            if why is not None:
                self._withheld[item.camera] += 1
                causes[why] += 1
        self.image_ledger = replace(self.image_ledger, withheld=causes)

    def _lacks_memory(self, coming: int) -> bool:
        """Whether so many bytes more would bring the server near the end of its memory.

        The oldest pictures are removed first; it is short if that is not enough.
        """
        with self._server.translate_errors("asking for its memory"):
            memory = self._server.node_for(self.keys.events).info("memory")
        limit = memory.get("maxmemory", 0)
        evicts = memory.get("maxmemory_policy", "noeviction") != "noeviction"
        excess = int(memory["used_memory"] + coming - _NEARLY_FULL * limit)
        short = bool(limit) and not evicts and excess > 0 and self._run((), to_free=excess).not_freed > 0
        if short and not self._short:
            logger.warning(
                "Redis at %s has used %.0f of %.0f MB, and no pictures are left to remove: events go without "
                "theirs until there is room",
                *(self._server.place, memory["used_memory"] / 1e6, limit / 1e6),
            )
        self._short = short
        return short

    def _evaluated(self, *arguments: Any) -> Any:
        """The script's answer; with replicas to wait for, once they have what it wrote."""
        if not self._replicas:
            return self._server.client.eval(self._script, *arguments)
        # WAIT is about its own connection's writes, so both go through one.
        with self._server.node_for(self.keys.events).pipeline(transaction=False) as both:
            both.eval(self._script, *arguments)
            both.execute_command("WAIT", self._replicas, self._patience)
            reply, reached = both.execute(raise_on_error=False)
        for answer in (reply, reached):
            if isinstance(answer, Exception):
                raise answer
        if reached < self._replicas:
            raise DeliveryError(
                f"Redis at {self._server.place} has {reached} replicas in step of {self._replicas} asked for"
            )
        return reply

    def check(self) -> None:
        """Raise DeliveryError unless the server answers and our keys are free or of their types."""
        with self._server.translate_errors("checking the streams"):
            for key in (self.keys.events, self.keys.coverage, self.keys.incidents):
                self._server.client.xlen(key)
            self._server.client.zcard(self.keys.image_ledger)

    def close(self) -> None:
        """Close the connection; a later `deliver` opens one anew."""
        self._server.close()

    def _script_arguments(self, item: OutboxMessage) -> tuple[list[str], list[str | bytes | int]]:
        """Keys and arguments of one item, as the script wants them."""
        if isinstance(item, NoticeMessage):
            stream = self.keys.incidents if item.stream == "incidents" else self.keys.coverage
            channel, annotated, raw = "", None, None
            entry = [text for field in item.fields for text in field]
        else:
            stream, channel = self.keys.events, self.keys.live(item.camera)
            annotated, raw = item.annotated_jpeg, item.raw_jpeg
            entry = ["id", item.id, "camera", item.camera, "event", item.document]
        keys = [stream, self.keys.high_water_mark(item.id), self.keys.frame(item.id), self.keys.raw(item.id)]
        return keys, [item.id, self._maxlen, annotated or b"", raw or b"", channel, len(entry), *entry]

    def _tell_of_channel(self, unheard: str) -> None:
        """The stream is the record; that the live channel is shut to us is worth a word, not a retry."""
        if unheard and self._live_is_heard:
            logger.warning("events reach the stream but not the live channel: %s", unheard)
        self._live_is_heard = not unheard
