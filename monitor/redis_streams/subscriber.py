"""The reading side: events as they come, alone or shared in a group, their images, incidents and coverage."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar, cast

from monitor.errors import DeliveryError, MonitorError
from monitor.events.event import Event
from monitor.events.incidents import IncidentReport
from monitor.events.verdicts import BatchSequence, VerdictBatch
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.consumer_group import (
    GroupConsumer,
    MissedEntries,
    StreamEntry,
    UnreadableEntry,
    find_missed,
    log_unreadable,
    parse_entry,
    raise_missed,
    reply_entries,
)
from monitor.redis_streams.keys import RedisKeys

_Document = TypeVar("_Document")


_Reply = TypeVar("_Reply")


logger = logging.getLogger(__name__)


class EventMissingError(MonitorError):
    """The stream has no such event, or no longer."""


def never() -> bool:
    """Return False: no reason to stop."""
    return False


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
        self._patience, self._interval = patience, interval
        self._on_unreadable, self._on_missed = on_unreadable, on_missed

    def follow(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[Event]:
        """Every event after the stream id `start`: "$" what comes from this call on, "0" all there are.

        Every follower sees every event, or learns by `on_missed` that some were trimmed away before.
        """
        with self._server.translate_errors("reading the stream"):
            last = self._newest(self.keys.events) if start == "$" else start
        return self._follow_loop(self.keys.events, last, stop, self._read)

    def incidents(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[IncidentReport]:
        """Every start and end of an incident after the stream id `start`, as in `follow`.

        An event's `incident.id` says which incident its frame belongs to.
        """
        with self._server.translate_errors("reading the stream"):
            last = self._newest(self.keys.incidents) if start == "$" else start
        return self._follow_loop(self.keys.incidents, last, stop, self._read_incident)

    def coverage(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[Mapping[str, str]]:
        """Every statement on what was not inspected or is lost, after the stream id `start`, as in `follow`.

        Each is a mapping of text with `kind` (`gap`, `camera`, `shed`, `clash`, `recipe`) and `camera`; the
        AsyncAPI document has a schema for it.
        """
        with self._server.translate_errors("reading the stream"):
            last = self._newest(self.keys.coverage) if start == "$" else start
        return self._follow_loop(self.keys.coverage, last, stop, self._read_coverage)

    def verdicts(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[VerdictBatch]:
        """Outcomes of all frames after the stream id `start`, as in `follow`, in batches of one camera.

        The daemon writes them where `verdicts.publish` is set. A batch that is missing is replaced by one
        with the outcome `unreported` and the cause `missing`.
        """
        with self._server.translate_errors("reading the stream"):
            last = self._newest(self.keys.verdicts) if start == "$" else start
        sequence = BatchSequence()
        for batch in self._follow_loop(self.keys.verdicts, last, stop, self._read_verdicts):
            if (missing := sequence.missing_before(batch)) is not None:
                yield missing
            yield batch

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
        me = GroupConsumer(self._server, self.keys.events, group, consumer)
        with self._server.translate_errors("making the group"):
            me.ensure_group(start)
        return self._work_loop(me, takeover, wait, stop)

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

    def _newest(self, stream: str) -> str:
        entries = self._server.client.xrevrange(stream, count=1)
        return entries[0][0].decode() if entries else "0-0"

    def _follow_loop(
        self,
        stream: str,
        last: str,
        stop: Callable[[], bool],
        read: Callable[[StreamEntry], _Document | None],
    ) -> Iterator[_Document]:
        while not stop():
            for entry in self._retry(partial(self._after, stream, last), stop) or ():
                last = entry[0].decode()
                if (document := read(entry)) is not None:
                    yield document
                if stop():
                    return

    def _after(self, stream: str, last: str) -> list[StreamEntry]:
        entries = reply_entries(self._server.client.xread({stream: last}, count=100, block=self._block))
        # After the reading, so that nothing can be trimmed away unnoticed in between.
        if entries and find_missed(self._server.client, stream, last) is not None:
            self._on_missed(MissedEntries(stream, last, entries[0][0].decode()))
        return entries

    def _work_loop(
        self, me: GroupConsumer, takeover: float, wait: bool, stop: Callable[[], bool]
    ) -> Iterator[tuple[Event, Callable[[], None]]]:
        mine: str | None = "0"  # first what this consumer was given before and did not acknowledge
        check_at = 0.0
        while not stop():
            entries: list[StreamEntry] = []
            if mine is not None:
                entries = self._retry(partial(me.pending, mine), stop) or []
                mine = entries[0][0].decode() if entries else None
            if not entries and time.monotonic() >= check_at:
                entries = self._retry(partial(me.claim_stale, takeover), stop) or []
                check_at = 0.0 if entries else time.monotonic() + takeover / 4
            if not entries:
                missed = self._retry(me.missed, stop)
                entries = self._retry(partial(me.read_new, self._block if wait else None), stop) or []
                # After the reading, which moves the group on: if this raises, the entry is pending, and what
                # was missed is not reported again.
                if missed is not None and entries:
                    self._on_missed(missed)
                if not entries and not wait:
                    return
            for entry in entries:
                acknowledge = partial(me.acknowledge, entry[0])
                event = self._read(entry)
                if event is None:
                    acknowledge()  # it will not become readable by coming again
                else:
                    yield event, acknowledge

    @property
    def _block(self) -> int:
        return max(1, int(self._interval * 1000))

    def _retry(self, read: Callable[[], _Reply], stop: Callable[[], bool]) -> _Reply | None:
        """Read, through an outage of up to `patience` seconds."""
        started_at = time.monotonic()
        logged = False
        while True:
            try:
                with self._server.translate_errors("reading the stream"):
                    return read()
            except DeliveryError as error:
                if error.permanent or time.monotonic() - started_at > self._patience:
                    raise
                if not logged:
                    logger.warning("%s; retrying", error)
                logged = True
                if stop():
                    return None
                time.sleep(min(self._interval, 0.5))

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
