"""The reading side: events as they come, alone or shared out in a group, and their pictures."""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar, cast

from monitor.errors import DeliveryError, MonitorError
from monitor.events.event import Event
from monitor.events.incidents import IncidentReport
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.consumer_group import (
    GroupConsumer,
    StreamEntry,
    UnreadableEntry,
    log_unreadable,
    parse_entry,
    reply_entries,
)
from monitor.redis_streams.keys import RedisKeys

_Document = TypeVar("_Document")


logger = logging.getLogger(__name__)


class EventMissingError(MonitorError):
    """The stream has no such event, or no longer."""


def never() -> bool:
    """The answer of who has no reason to stop."""
    return False


class Subscriber:
    """Reads the events below `prefix` at a Redis or Valkey URL. One thread at a time.

    Everything raises DeliveryError if the server cannot be reached or refuses, except that a running
    `follow` or `work` waits up to `patience` seconds for it to come back, then goes on where it was.
    An entry that is no event goes to `on_unreadable` and is passed over.
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
    ) -> None:
        self.keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self.keys, timeout=timeout + interval, access=access)
        self._patience, self._interval = patience, interval
        self._on_unreadable = on_unreadable

    def follow(self, start: str = "$", *, stop: Callable[[], bool] = never) -> Iterator[Event]:
        """Every event after the stream id `start`: "$" what comes from this call on, "0" all there are.

        Every follower sees every event; entries trimmed away before they were read are not seen.
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
        """Events shared out among the consumers of a group, each with the function that acknowledges it.

        Call it when the work is done. What is not acknowledged is given again: to this consumer when it
        starts anew, to another after `takeover` seconds. So each event is worked on at least once, and twice
        is possible. A new group begins at `start`, as in `follow`; an old one where it was, so a restart
        misses nothing. Without `wait` the iteration ends when nothing is left to give.
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
        """The annotated picture, JPEG; None if there was none or its time is over."""
        return self._fetch(event.image.frame_key)

    def raw_picture(self, event: Event) -> bytes | None:
        """The picture as the camera gave it, JPEG; None if none was kept or its time is over."""
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
        with self._server.translate_errors("fetching a picture"):
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
            for entry in self._retry(partial(self._after, stream, last), stop):
                last = entry[0].decode()
                if (document := read(entry)) is not None:
                    yield document
                if stop():
                    return

    def _after(self, stream: str, last: str) -> list[StreamEntry]:
        return reply_entries(self._server.client.xread({stream: last}, count=100, block=self._block))

    def _work_loop(
        self, me: GroupConsumer, takeover: float, wait: bool, stop: Callable[[], bool]
    ) -> Iterator[tuple[Event, Callable[[], None]]]:
        mine: str | None = "0"  # first what this consumer was given before and did not acknowledge
        look_again = 0.0
        while not stop():
            entries: list[StreamEntry] = []
            if mine is not None:
                entries = self._retry(partial(me.pending, mine), stop)
                mine = entries[0][0].decode() if entries else None
            if not entries and time.monotonic() >= look_again:
                entries = self._retry(partial(me.claim_stale, takeover), stop)
                look_again = 0.0 if entries else time.monotonic() + takeover / 4
            if not entries:
                entries = self._retry(partial(me.read_new, self._block if wait else None), stop)
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

    def _retry(self, read: Callable[[], list[StreamEntry]], stop: Callable[[], bool]) -> list[StreamEntry]:
        """Read, through an outage of up to `patience` seconds."""
        began = time.monotonic()
        told = False
        while True:
            try:
                with self._server.translate_errors("reading the stream"):
                    return read()
            except DeliveryError as error:
                if error.permanent or time.monotonic() - began > self._patience:
                    raise
                if not told:
                    logger.warning("%s; waiting for it to come back", error)
                told = True
                if stop():
                    return []
                time.sleep(min(self._interval, 0.5))

    def _read(self, entry: StreamEntry) -> Event | None:
        return parse_entry(entry, b"event", Event.from_json, self._on_unreadable)

    def _read_incident(self, entry: StreamEntry) -> IncidentReport | None:
        return parse_entry(entry, b"incident", IncidentReport.model_validate_json, self._on_unreadable)
