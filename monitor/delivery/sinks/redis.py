"""Delivery to Redis or Valkey: one script call for a batch, each message in it atomic and once only."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from redis.exceptions import DataError, ResponseError

from monitor.delivery.sinks.base import DeliveryResult
from monitor.delivery.storage import OutboxEntry
from monitor.errors import DeliveryError
from monitor.events.event import Event
from monitor.events.messages import EventMessage, NoticeMessage, OutboxMessage
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys

logger = logging.getLogger(__name__)


_NEARLY_FULL = 0.9


_SCRIPT = "redis.lua"


StripReason = Literal["redis-full", "too-large"]
"""Why an event went without its images: the server's memory, or its images exceed what all may take."""


class ImageObserver(Protocol):
    """Is notified of images in Redis, in the sender's thread."""

    def picture_bytes(self, stored: int) -> None:
        """All images of the prefix take so many bytes."""

    def pictures_removed(self, count: int) -> None:
        """So many more were removed for newer ones."""

    def images_stripped(self, cause: str, count: int) -> None:
        """So many more events went without theirs."""


class _ScriptReply(NamedTuple):
    """What the script returns."""

    delivered: int
    channel_error: bytes
    removed: int
    stored: int
    not_freed: int


class RedisSink:
    """Delivers to the server at `url` (see `monitor.redis_streams.connection`) below `prefix`.

    - `daemon`: whose high-water mark is used; what is at or below it is not delivered again
    - `stream_maxlen`: entries that a stream holds, about
    - `verdicts_maxlen`: the same for the stream of verdicts, which is not used if it is None
    - `frame_ttl`: seconds that an image is stored
    - `high_water_ttl`: seconds without a delivery after which the mark is forgotten; must be longer than a
      message can wait between its delivery and the repetition
    - `picture_bytes`: bytes that all images below the prefix may take: the oldest are removed for the newest
    - `replicas`: how many replicas must have a message before it counts as delivered
    - `durable`: a message counts as delivered once it is on the server's disk, where the server can tell
    - `timeout`: seconds

    On a server that refuses writes at its `maxmemory` (`noeviction`), images make room for events once nine
    tenths are used: the oldest are removed, and where none is left events go without theirs and say so.
    A server that evicts (such as `volatile-ttl`) makes room by itself.

    The script needs Redis 6.2 or Valkey; on a cluster, a prefix with a hash tag.
    """

    name = "redis"

    def __init__(
        self,
        url: str,
        prefix: str = "defects",
        *,
        daemon: str = "defect-monitor",
        stream_maxlen: int = 10_000,
        verdicts_maxlen: int | None = None,
        frame_ttl: int = 86_400,
        high_water_ttl: int = 7 * 86_400,
        picture_bytes: int = 100_000_000,
        replicas: int = 0,
        durable: bool = False,
        timeout: float = 2.0,
        access: RedisCredentials = NO_CREDENTIALS,
        observer: ImageObserver | None = None,
    ) -> None:
        self.keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self.keys, timeout=timeout, access=access)
        self._daemon, self._observer = daemon, observer
        self._replicas, self._durable = replicas, durable
        self._wait_ms, self._disk_ms = max(1, int(timeout * 500)), max(1, int(timeout * 900))
        streams = (self.keys.events, self.keys.coverage, self.keys.incidents)
        self._default_maxlen, self._maxlen = stream_maxlen, dict.fromkeys(streams, stream_maxlen)
        if verdicts_maxlen is not None:
            self._maxlen[self.keys.verdicts] = verdicts_maxlen
        self._frame_ttl, self._mark_ttl = frame_ttl, high_water_ttl
        self._picture_bytes = picture_bytes
        self._script = Path(__file__).with_name(_SCRIPT).read_text(encoding="utf-8")
        self._channel_works = True
        self._short_of_memory = False

    def set_access(self, url: str, access: RedisCredentials) -> None:
        """Use these credentials from the next delivery on; see `RedisConnection.set_access`."""
        self._server.set_access(url, access)

    def check(self) -> None:
        """Raise DeliveryError unless the server answers and our keys are free or of their types."""
        with self._server.translate_errors("checking the streams"):
            for key in self._maxlen:
                self._server.client.xlen(key)
            self._server.client.zcard(self.keys.image_ledger)

    def deliver(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
        """Deliver in order; see `monitor.delivery.sinks.base.Sink`."""
        short = self._lacks_memory(sum(entry.message.size for entry in batch))
        reasons = [self._strip_reason(entry.message, short) for entry in batch]
        reply = self._run(batch, [reason is not None for reason in reasons])
        self._report_channel(reply.channel_error.decode(errors="replace"))
        cameras, causes = Counter[str](), Counter[str]()
        for entry, reason in zip(batch[: reply.delivered], reasons, strict=False):
            if reason is not None:
                cameras[entry.message.camera] += 1
                causes[reason] += 1
        if self._observer is not None:
            for cause, count in causes.items():
                self._observer.images_stripped(cause, count)
        return DeliveryResult(reply.delivered, cameras)

    def close(self) -> None:
        """Close the connection; a later `deliver` opens it again."""
        self._server.close()

    def _run(
        self, batch: Sequence[OutboxEntry], stripped: Sequence[bool] = (), to_free: int = 0
    ) -> _ScriptReply:
        """Have the script remove so many bytes of images, the oldest first, then deliver the batch."""
        keys = [self.keys.image_ledger, self.keys.high_water_mark(self._daemon)]
        arguments: list[str | bytes | int] = [self._mark_ttl, self._frame_ttl, self._picture_bytes, to_free]
        arguments += [self.keys.frame(""), self.keys.raw("")]
        for entry, bare in zip(batch, stripped, strict=True):
            message = entry.message.without_images() if bare else entry.message
            message_keys, message_arguments = self._script_arguments(message)
            keys += message_keys
            maxlen = self._maxlen.get(message_keys[0], self._default_maxlen)
            arguments += [message.id, *entry.position, maxlen, *message_arguments]
        with self._server.translate_errors("publishing"):
            # The whole script each time: it is small beside an image, and never has to be loaded again.
            try:
                reply = _ScriptReply(*self._evaluate(len(keys), *keys, *arguments))
            except DataError as error:  # the client cannot send this message: no failure of the server
                raise TypeError(str(error)) from error
        if self._observer is not None:
            self._observer.picture_bytes(reply.stored)
            self._observer.pictures_removed(reply.removed)
        return reply

    def _script_arguments(self, message: OutboxMessage) -> tuple[list[str], list[str | bytes | int]]:
        """Return the keys of one message and its arguments after the position, as the script expects them."""
        if isinstance(message, NoticeMessage):
            streams = {"incidents": self.keys.incidents, "verdicts": self.keys.verdicts}
            stream = streams.get(message.stream, self.keys.coverage)
            entry = [text for field in message.fields for text in field]
            channel, annotated, raw = "", None, None
        else:
            stream, channel = self.keys.events, self.keys.live(message.camera)
            annotated, raw = message.annotated_jpeg, message.raw_jpeg
            entry = ["id", message.id, "camera", message.camera, "event", self._document(message)]
        keys = [stream, self.keys.frame(message.id), self.keys.raw(message.id)]
        return keys, [annotated or b"", raw or b"", channel, len(entry), *entry]

    def _document(self, message: EventMessage) -> str:
        """Return the event's document with the keys of the images that go with it."""
        event = Event.from_json(message.document)
        image = event.image.model_copy(
            update={
                "frame_key": None if message.annotated_jpeg is None else self.keys.frame(message.id),
                "raw_key": None if message.raw_jpeg is None else self.keys.raw(message.id),
            }
        )
        return event.model_copy(update={"image": image}).to_json()

    def _strip_reason(self, message: OutboxMessage, short: bool) -> StripReason | None:
        if not message.image_bytes:
            return None
        if message.image_bytes > self._picture_bytes:
            return "too-large"
        return "redis-full" if short else None

    def _lacks_memory(self, coming: int) -> bool:
        """Return whether so many bytes more would bring the server near the end of its memory.

        The oldest images are removed first; it lacks memory if that is not enough.
        """
        with self._server.translate_errors("asking for its memory"):
            memory = self._server.node_for(self.keys.events).info("memory")
        limit = memory.get("maxmemory", 0)
        evicts = memory.get("maxmemory_policy", "noeviction") != "noeviction"
        excess = int(memory["used_memory"] + coming - _NEARLY_FULL * limit)
        short = bool(limit) and not evicts and excess > 0 and self._run((), to_free=excess).not_freed > 0
        if short and not self._short_of_memory:
            logger.warning(
                "Redis at %s has used %.0f of %.0f MB, and no images are left to remove: events go without "
                "theirs until there is room",
                *(self._server.place, memory["used_memory"] / 1e6, limit / 1e6),
            )
        self._short_of_memory = short
        return short

    def _evaluate(self, *arguments: Any) -> Any:
        """Return the script's reply, once replicas and disk have what it wrote, as far as asked for."""
        if not self._replicas and not self._durable:
            return self._server.client.eval(self._script, *arguments)
        # WAIT and WAITAOF are about the writes of their own connection, so all go through one.
        with self._server.node_for(self.keys.events).pipeline(transaction=False) as pipeline:
            pipeline.eval(self._script, *arguments)
            if self._replicas:
                pipeline.execute_command("WAIT", self._replicas, self._wait_ms)
            if self._durable:
                pipeline.execute_command("WAITAOF", 1, 0, self._disk_ms)
            reply, *reached = pipeline.execute(raise_on_error=False)
        if isinstance(reply, Exception):
            raise reply
        if self._durable:
            self._check_on_disk(reached.pop())
        for replicas in reached:
            if isinstance(replicas, Exception):
                raise replicas
            if replicas < self._replicas:
                raise DeliveryError(
                    f"Redis at {self._server.place} has {replicas} replicas in step, redis.replicas asks for "
                    f"{self._replicas}"
                )
        return reply

    def _check_on_disk(self, reached: Any) -> None:
        if isinstance(reached, ResponseError) and "unknown command" in str(reached):
            self._durable = False
            logger.warning(
                "redis.durable has no effect: the server does not know WAITAOF; it needs Redis 7.2 or Valkey",
                extra={"server": self._server.place},
            )
        elif isinstance(reached, ResponseError) and "appendonly" in str(reached):
            raise DeliveryError(
                f"Redis at {self._server.place} writes no append-only file, which redis.durable asks for: "
                "set `appendonly yes`",
                permanent=True,
            )
        elif isinstance(reached, Exception):
            raise reached
        elif reached[0] < 1:
            raise DeliveryError(f"Redis at {self._server.place} did not write to its disk in time")

    def _report_channel(self, error: str) -> None:
        """Log once that the live channel refuses us: the stream is the record, so nothing is retried."""
        if error and self._channel_works:
            logger.warning("events reach the stream but not the live channel: %s", error)
        self._channel_works = not error
