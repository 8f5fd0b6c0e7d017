"""The loops of readers: follow a stream, or work through it in a consumer group, through outages."""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from monitor.errors import DeliveryError
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.consumer_group import (
    GroupConsumer,
    MissedEntries,
    StreamEntry,
    find_missed,
    reply_entries,
)

logger = logging.getLogger(__name__)

_Document = TypeVar("_Document")

_Reply = TypeVar("_Reply")


def never() -> bool:
    """Return False: no reason to stop."""
    return False


class StreamReader:
    """Reads entries of streams at `server`; the other arguments are those of `Subscriber`."""

    def __init__(
        self,
        server: RedisConnection,
        patience: float,
        interval: float,
        on_missed: Callable[[MissedEntries], None],
    ) -> None:
        self._server, self._patience, self._interval = server, patience, interval
        self._on_missed = on_missed

    def follow(
        self,
        stream: str,
        start: str,
        stop: Callable[[], bool],
        read: Callable[[StreamEntry], _Document | None],
    ) -> Iterator[_Document]:
        """Return what `read` makes of each entry after `start`; see `Subscriber.follow`."""
        with self._server.translate_errors("reading the stream"):
            last = self._newest(stream) if start == "$" else start
        return self._follow_loop(stream, last, stop, read)

    def work(
        self,
        worker: GroupConsumer,
        read: Callable[[StreamEntry], _Document | None],
        start: str,
        *,
        takeover: float,
        wait: bool,
        stop: Callable[[], bool],
    ) -> Iterator[tuple[_Document, Callable[[], None]]]:
        """Return what `read` makes of each entry given to `worker`; see `Subscriber.work`."""
        with self._server.translate_errors("making the group"):
            worker.ensure_group(start)
        return self._work_loop(worker, read, takeover, wait, stop)

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
        self,
        me: GroupConsumer,
        read: Callable[[StreamEntry], _Document | None],
        takeover: float,
        wait: bool,
        stop: Callable[[], bool],
    ) -> Iterator[tuple[_Document, Callable[[], None]]]:
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
                document = read(entry)
                if document is None:
                    acknowledge()  # it will not become readable by coming again
                else:
                    yield document, acknowledge

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
