"""Bounded reads of the streams by entry id, images and live frames: what a page of events needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from monitor.events.labels import Label
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys
from monitor.redis_streams.preview import Preview

OLDEST, NEWEST = "-", "+"

_MAX_LABELS = 100_000


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An entry of a stream: its id, such as `1764500000000-0`, and its fields as text."""

    id: str
    fields: Mapping[str, str]

    @property
    def added_at(self) -> datetime:
        """When the entry was added, by the clock of Redis."""
        return datetime.fromtimestamp(int(self.id.split("-")[0]) / 1000, UTC)


class StreamHistory:
    """Reads pages of the streams below `prefix` at a Redis or Valkey URL. Callable from any thread.

    Every read is bounded by its `count`, and by `timeout` seconds; a failure raises DeliveryError. Nothing is
    retried here, so that a page learns of an outage at once.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "defects",
        *,
        access: RedisCredentials = NO_CREDENTIALS,
        timeout: float = 1.5,
    ) -> None:
        self.keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self.keys, timeout=timeout, access=access)

    def newest_first(self, stream: str, before: str = NEWEST, *, count: int) -> list[HistoryEntry]:
        """Return up to `count` entries older than the id `before`, the newest first."""
        last = before if before == NEWEST else f"({before}"
        with self._server.translate_errors("reading the stream"):
            return _entries(self._server.client.xrevrange(stream, max=last, count=count))

    def oldest_first(
        self, stream: str, start: str = OLDEST, end: str = NEWEST, *, count: int
    ) -> list[HistoryEntry]:
        """Return up to `count` entries from the id `start` to `end`, both included, the oldest first."""
        with self._server.translate_errors("reading the stream"):
            return _entries(self._server.client.xrange(stream, min=start, max=end, count=count))

    def all_between(self, stream: str, start: str, end: str = NEWEST) -> Iterator[HistoryEntry]:
        """Every entry from the id `start` to `end`, the oldest first, read in pages."""
        while page := self.oldest_first(stream, start, end, count=500):
            yield from page
            start = f"({page[-1].id}"

    def read_new(self, after: Mapping[str, str], *, wait: float, count: int) -> dict[str, list[HistoryEntry]]:
        """Return entries after an id, by stream; waits up to `wait` seconds for the first."""
        with self._server.translate_errors("reading the streams"):
            reply = self._server.client.xread(dict(after), count=count, block=int(wait * 1000))
        return {stream.decode(): _entries(entries) for stream, entries in reply or []}

    def image(self, key: str) -> bytes | None:
        """Return the image under a key that an event or a sample names; None if it expired."""
        with self._server.translate_errors("fetching an image"):
            return cast(bytes | None, self._server.client.get(key))

    def have_images(self, frames: Sequence[str]) -> list[bool]:
        """Return, for each id of an event or a sample, whether one of its images is in Redis."""
        with self._server.translate_errors("looking for images"):
            pipe = self._server.client.pipeline(transaction=False)
            for frame in frames:
                pipe.exists(self.keys.sample(frame), self.keys.raw(frame), self.keys.frame(frame))
            return [bool(count) for count in pipe.execute()]

    def live_frame(self, camera: str) -> Preview | None:
        """Return the camera's live frame; None while nobody watches or the camera delivers none."""
        with self._server.translate_errors("fetching a live frame"):
            found = self._server.client.hgetall(self.keys.preview(camera))
        try:
            return Preview.from_fields(found)
        except ValueError:
            return None

    def live_frame_times(self, cameras: list[str]) -> dict[str, tuple[int, datetime]]:
        """Return number and capture time of each camera's live frame, without the images."""
        with self._server.translate_errors("reading live frames"):
            pipe = self._server.client.pipeline(transaction=False)
            for camera in cameras:
                pipe.hmget(self.keys.preview(camera), "frame_number", "captured_at")
            replies = pipe.execute()
        return {
            camera: (int(number), datetime.fromisoformat(at.decode()))
            for camera, (number, at) in zip(cameras, replies, strict=True)
            if number is not None and at is not None
        }

    def watch(self, seconds: int) -> None:
        """Ask the daemon for live frames during the next `seconds`."""
        with self._server.translate_errors("asking for live frames"):
            self._server.client.set(self.keys.watching, b"1", ex=seconds)

    def add_label(self, label: Label) -> None:
        """Append a label to its stream, which holds about 100,000."""
        fields = {"id": label.id, "camera": label.camera, "label": label.to_json()}
        with self._server.translate_errors("adding a label"):
            self._server.client.xadd(self.keys.labels, fields, maxlen=_MAX_LABELS)

    def consumer_groups(self) -> list[dict[str, Any]]:
        """Return name, pending events and lag (None: unknown) of each consumer group of the events."""
        with self._server.translate_errors("reading consumer groups"):
            if not self._server.client.exists(self.keys.events):
                return []
            groups = self._server.client.xinfo_groups(self.keys.events)
        return [
            {
                "name": group["name"].decode(errors="replace"),
                "pending": group["pending"],
                "lag": group.get("lag"),
            }
            for group in groups
        ]

    def close(self) -> None:
        """Close the connections."""
        self._server.close()


def _entries(reply: Any) -> list[HistoryEntry]:
    return [
        HistoryEntry(
            entry.decode(),
            {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()},
        )
        for entry, fields in reply
    ]
