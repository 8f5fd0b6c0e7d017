"""The reading side: events as they come, alone or shared in a group, their images, incidents and coverage."""

from collections.abc import Callable, Iterator, Mapping
from typing import cast

from monitor.errors import MonitorError
from monitor.events.event import Event
from monitor.events.incidents import IncidentReport
from monitor.events.labels import Label
from monitor.events.samples import Sample
from monitor.events.verdicts import BatchSequence, VerdictBatch
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.consumer_group import (
    GroupConsumer,
    MissedEntries,
    StreamEntry,
    UnreadableEntry,
    log_unreadable,
    parse_entry,
    raise_missed,
)
from monitor.redis_streams.keys import RedisKeys
from monitor.redis_streams.stream_reader import StreamReader, never


class EventMissingError(MonitorError):
    """The stream has no such event, or no longer."""


class Subscriber:
    """Reads the events below `prefix` at a Redis or Valkey URL. One thread at a time.

    Everything raises DeliveryError if the server cannot be reached or refuses, except that a running
    `follow` or `work` waits up to `patience` seconds for it to come back, then goes on where it was.
    An entry that is no event goes to `on_unreadable` and is skipped. Where entries were trimmed away before
    they were read, `on_missed` is called before the next entry; without one, EntriesMissedError is raised.
    `stop`, asked at least every `interval` seconds while nothing comes, ends an iteration once it is true.
    """

    def __init__(
        self,
        url: str = "redis://127.0.0.1:6379/0",
        prefix: str = "defects",
        *,
        access: RedisCredentials = NO_CREDENTIALS,
        timeout: float = 5.0,
        patience: float = 60.0,
        interval: float = 1.0,
        on_unreadable: Callable[[UnreadableEntry], None] = log_unreadable,
        on_missed: Callable[[MissedEntries], None] = raise_missed,
    ) -> None:
        self.keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self.keys, timeout=timeout + interval, access=access)
        self._reader = StreamReader(self._server, patience, interval, on_missed)
        self._on_unreadable = on_unreadable

    def follow(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[Event]:
        """Every event after the stream id `start`: "$" what comes from this call on, "0" all there are.

        Every follower sees every event, or learns by `on_missed` that some were trimmed away before.
        """
        return self._reader.follow(self.keys.events, start, stop, self._read)

    def incidents(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[IncidentReport]:
        """Every start and end of an incident after the stream id `start`, as in `follow`.

        An event's `incident.id` says which incident its frame belongs to.
        """
        return self._reader.follow(self.keys.incidents, start, stop, self._read_incident)

    def coverage(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[Mapping[str, str]]:
        """Every statement on what was not inspected or is lost, after the stream id `start`, as in `follow`.

        Each is a mapping of text with `kind` (`gap`, `camera`, `shed`, `clash`, `recipe`) and `camera`; the
        AsyncAPI document has a schema for it.
        """
        return self._reader.follow(self.keys.coverage, start, stop, self._read_coverage)

    def verdicts(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[VerdictBatch]:
        """Outcomes of all frames after the stream id `start`, as in `follow`, in batches of one camera.

        The daemon writes them where `verdicts.publish` is set. A batch that is missing is replaced by one
        with the outcome `unreported` and the cause `missing`.
        """
        sequence = BatchSequence()
        for batch in self._reader.follow(self.keys.verdicts, start, stop, self._read_verdicts):
            if (missing := sequence.missing_before(batch)) is not None:
                yield missing
            yield batch

    def samples(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[Sample]:
        """Every frame kept for learning after the stream id `start`, as in `follow`.

        The daemon writes them where `samples.publish` is set.
        """
        return self._reader.follow(self.keys.samples, start, stop, self._read_sample)

    def labels(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[Label]:
        """Every answer about a frame after the stream id `start`, as in `follow`.

        `monitor.events.labels.standing_labels` tells which of several answers count.
        """
        return self._reader.follow(self.keys.labels, start, stop, self._read_label)

    def work(
        self,
        group: str,
        consumer: str,
        *,
        start: str = "$",
        takeover: float = 60.0,
        wait: bool = True,
        stop: Callable[[], bool] = never,
    ) -> Iterator[tuple[Event, Callable[[], None]]]:
        """Events shared among the consumers of a group, each with the function that acknowledges it.

        Call it when the work is done. What is not acknowledged is given again: to this consumer when it
        starts again, to another after `takeover` seconds. So each event is worked on at least once, and twice
        is possible. A new group begins at `start`, as in `follow`; an old one where it was. What was trimmed
        away meanwhile is reported to `on_missed`. Without `wait` the iteration ends when nothing is left.
        """
        worker = GroupConsumer(self._server, self.keys.events, group, consumer)
        return self._reader.work(worker, self._read, start, takeover=takeover, wait=wait, stop=stop)

    def work_samples(
        self, group: str, consumer: str, *, wait: bool = True, stop: Callable[[], bool] = never
    ) -> Iterator[tuple[Sample, Callable[[], None]]]:
        """Samples shared among the consumers of a group, from the oldest on, as in `work`."""
        worker = GroupConsumer(self._server, self.keys.samples, group, consumer)
        return self._reader.work(worker, self._read_sample, "0", takeover=60.0, wait=wait, stop=stop)

    def work_labels(
        self, group: str, consumer: str, *, wait: bool = True, stop: Callable[[], bool] = never
    ) -> Iterator[tuple[Label, Callable[[], None]]]:
        """Labels shared among the consumers of a group, from the oldest on, as in `work`."""
        worker = GroupConsumer(self._server, self.keys.labels, group, consumer)
        return self._reader.work(worker, self._read_label, "0", takeover=60.0, wait=wait, stop=stop)

    def stored(self, *, newest_first: bool = False) -> Iterator[Event]:
        """The events that are in the stream, to the last that was there at some moment while reading."""
        last = "+" if newest_first else "-"
        while True:
            with self._server.translate_errors("reading the stream"):
                if newest_first:
                    entries = self._server.client.xrevrange(self.keys.events, max=last, count=100)
                else:
                    entries = self._server.client.xrange(self.keys.events, min=last, count=100)
            for entry in entries:
                if (event := self._read(entry)) is not None:
                    yield event
            if not entries:
                return
            last = "(" + entries[-1][0].decode()

    def find(self, event_id: str) -> Event:
        """The event of this id; raises EventMissingError."""
        for event in self.stored(newest_first=True):
            if event.id == event_id:
                return event
        raise EventMissingError(
            f"no event {event_id!r} in {self.keys.events}: never there, or trimmed away since"
        )

    def picture(self, event: Event) -> bytes | None:
        """Return the annotated image, JPEG; None if there is none, or no longer."""
        return self._fetch(event.image.frame_key)

    def raw_picture(self, event: Event) -> bytes | None:
        """Return the image as the camera gave it, JPEG; None if none is stored, or no longer."""
        return self._fetch(event.image.raw_key)

    def sample_image(self, sample: Sample) -> bytes | None:
        """Return the frame of a sample, PNG; None if it is not stored any more."""
        return self._fetch(sample.image.png_key)

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def __enter__(self) -> "Subscriber":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fetch(self, key: str | None) -> bytes | None:
        if key is None:
            return None
        with self._server.translate_errors("fetching an image"):
            return cast(bytes | None, self._server.client.get(key))

    def _read_coverage(self, entry: StreamEntry) -> Mapping[str, str] | None:
        fields = {name.decode(): value.decode(errors="replace") for name, value in (entry[1] or {}).items()}
        if "kind" in fields and "camera" in fields:
            return fields
        self._on_unreadable(UnreadableEntry(entry[0].decode(), "it has no field `kind` or `camera`"))
        return None

    def _read(self, entry: StreamEntry) -> Event | None:
        return parse_entry(entry, b"event", Event.from_json, self._on_unreadable)

    def _read_verdicts(self, entry: StreamEntry) -> VerdictBatch | None:
        return parse_entry(entry, b"verdicts", VerdictBatch.model_validate_json, self._on_unreadable)

    def _read_incident(self, entry: StreamEntry) -> IncidentReport | None:
        return parse_entry(entry, b"incident", IncidentReport.model_validate_json, self._on_unreadable)

    def _read_sample(self, entry: StreamEntry) -> Sample | None:
        return parse_entry(entry, b"sample", Sample.from_json, self._on_unreadable)

    def _read_label(self, entry: StreamEntry) -> Label | None:
        return parse_entry(entry, b"label", Label.from_json, self._on_unreadable)
