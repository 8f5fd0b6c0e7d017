"""Keeps what was found until it is delivered: one thread, in order, through every outage.

Whoever puts something in never waits for the network, only for the store, which may be a disk. What does not
fit or is too old is given up oldest first, counted, and said: once in the log when it begins, once when it is
over, and then to subscribers as a notice.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.delivery.drops import DROP_MESSAGES, DropCause, DropRecorder
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sinks.base import Sink
from monitor.delivery.storage import DropKey
from monitor.errors import DeliveryError
from monitor.events.coverage import Dropped
from monitor.events.messages import NoticeMessage, OutboxMessage

logger = logging.getLogger(__name__)


_LOOK_AGAIN = 1.0  # seconds, while there is something left to tell


_BATCH_ITEMS, _BATCH_BYTES = 32, 4_000_000  # one script call; holds the server up for milliseconds


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """What waits now (`oldest_seconds` is how long the oldest has), and all that was given up so far.

    `up` is whether the last delivery succeeded, None before the first was tried; `durable` whether all that
    waits outlives this process; `trouble` why it does not although it should.
    """

    events: int
    bytes: int
    oldest_seconds: float
    connected: bool | None
    shed_pictures: int
    shed_events: int
    shed_notices: int
    durable: bool
    trouble: str | None


def ignore(*_: object) -> None:
    """What is called where nobody listens."""


class Outbox:
    """Sends what is put in to `sink`, in the order it came, each until it is acknowledged.

    A failed delivery is repeated after `initial_backoff` seconds, doubled each time up to `max_backoff`, a random
    half of it off; a failure only a person can mend waits the longest at once. What waits longer than
    `max_age` seconds is given up.
    `on_state(up, why)` is told of the first result and of each change, `on_delivered(item, seconds)` of each
    acknowledged item, the seconds counted from the moment given to `put`; both in the sender's thread.
    `clock` is monotonic seconds, `now` the time of day, `chance` a number of 0..1.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        max_events: int = 10_000,
        max_bytes: int = 256_000_000,
        max_age: float = 7 * 86_400,
        store: OutboxQueue | None = None,
        on_connection_change: Callable[[bool, str | None], None] = ignore,
        on_delivered: Callable[[OutboxMessage, float], None] = ignore,
        initial_backoff: float = 0.2,
        max_backoff: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._sink = sink
        self._store = store if store is not None else OutboxQueue(max_events, max_bytes)
        self._max_age = max_age
        self._on_state, self._on_delivered = on_connection_change, on_delivered
        self._initial_backoff, self._max_backoff = initial_backoff, max_backoff
        self._clock, self._now, self._chance = clock, now, jitter
        self._changed = threading.Condition()
        self._up: bool | None = None
        self._why: str | None = None
        self._losses = DropRecorder()
        self._flushing = False
        self._closing = False
        self._thread = threading.Thread(target=self._send_all, name="outbox", daemon=True)
        self._thread.start()

    def put(
        self, item: OutboxMessage, began: float | None = None, *, notes: Mapping[str, str] | None = None
    ) -> None:
        """Add to the queue, at once, whatever the network does. On return the store has it.

        `began` is the moment by `clock` from which its delivery's seconds are counted, such as that of the
        capture; without it, now. `notes` are kept by the store in the same step. Raises RuntimeError after
        `close`.
        """
        with self._changed:
            if self._closing:
                raise RuntimeError("the outbox is closed")
            lost = self._store.append(item, self._clock() if began is None else began, notes)
            self._note_lost("outbox-full", lost)
            self._changed.notify_all()

    def record(self, name: str) -> str | None:
        """The latest note of this name, of an earlier run too."""
        with self._changed:
            return self._store.shelf.note(name)

    def stats(self) -> OutboxStats:
        """What waits, how long, and what was given up."""
        with self._changed:
            oldest = self._store.oldest()
            return OutboxStats(
                events=len(self._store),
                bytes=self._store.size,
                oldest_seconds=0.0 if oldest is None else max(0.0, self._clock() - oldest),
                connected=self._up,
                shed_pictures=self._losses.shed["pictures"],
                shed_events=self._losses.shed["events"],
                shed_notices=self._losses.shed["notices"],
                durable=self._store.shelf.durable,
                trouble=self._store.shelf.trouble(),
            )

    def flush(self, timeout: float) -> int:
        """Wait until all is delivered, `timeout` seconds at most, without long pauses; give what is left."""
        deadline = time.monotonic() + timeout
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            while (len(self._store) or self._losses.pending) and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            self._flushing = False
            return len(self._store)

    def close(self, timeout: float = 5.0) -> int:
        """Stop sending, after the delivery under way or `timeout` seconds; give what is left undelivered."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._sink.close()
        with self._changed:
            self._report_drops(self._losses.pop_all())  # what is on disk then tells of it after the restart
            self._store.acknowledge(0)
            self._store.shelf.close()
            return len(self._store)

    def _send_all(self) -> None:
        failures = 0
        while (items := self._next_batch()) is not None:
            failure = self._deliver(items)
            self._store.shelf.checkpoint()
            if failure is None:
                failures = 0
                continue
            failures += 1
            self._tell_state(False, str(failure))
            self._pause(self._wait(failures, failure.permanent))

    def _next_batch(self) -> list[OutboxMessage] | None:
        """The oldest that wait, once something does; None when it is time to end."""
        with self._changed:
            while not self._closing:
                self._note_lost("outbox-too-old", self._store.drop_older_than(self._clock() - self._max_age))
                items = list(self._store.next_batch(_BATCH_ITEMS, _BATCH_BYTES))
                self._note_lost("outbox-damaged", self._store.pop_corrupt())
                room = self._store.has_headroom()
                self._report_drops(self._losses.pop_due(self._now(), room=room, hurried=self._flushing))
                if items:
                    return items
                if not len(self._store):
                    self._changed.wait(_LOOK_AGAIN if self._losses.pending else None)
            return None

    def _deliver(self, items: list[OutboxMessage]) -> DeliveryError | None:
        """Deliver a batch, or the beginning of it, and account for it."""
        try:
            delivered = self._sink.deliver(items)
        except DeliveryError as error:
            with self._changed:
                self._store.acknowledge(0)
            return error
        except Exception as error:
            # A fault of the program, not of the network: what waits must not die with this thread.
            logger.exception("delivery failed in an unforeseen way")
            with self._changed:
                self._store.acknowledge(0)
            return DeliveryError(
                f"delivery failed in an unforeseen way: {type(error).__name__}", permanent=True
            )
        with self._changed:
            settled = self._store.acknowledge(delivered)
            withheld = Counter[DropKey](
                {(name, "pictures"): count for name, count in self._sink.withheld().items()}
            )
            self._note_lost("picture-withheld", withheld)
            moment = self._clock()
        self._tell_state(True, None)
        for item, began in settled:
            self._tell(self._on_delivered, item, max(0.0, moment - began))
        with self._changed:
            self._changed.notify_all()  # only now, so that after a drain every listener has been told
        return None

    def _wait(self, failures: int, permanent: bool) -> float:
        doubled = self._initial_backoff * 2.0 ** min(failures - 1, 30)
        longest = self._max_backoff if permanent else min(self._max_backoff, doubled)
        return longest * (1 - self._chance() / 2)

    def _pause(self, seconds: float) -> None:
        """Wait before the next try; when closing not at all, when draining briefly."""
        deadline = time.monotonic() + seconds
        brief = time.monotonic() + min(seconds, self._initial_backoff)
        with self._changed:
            while not self._closing:
                left = (brief if self._flushing else deadline) - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def _tell_state(self, up: bool, why: str | None) -> None:
        """Log and pass on a change between up and down, or of the reason for down."""
        if (up, why) == (self._up, self._why):
            return
        if up and self._up is False:
            logger.info("deliveries go through again, %d waiting", len(self._store))
        elif not up:
            logger.warning("%s; %d waiting, trying again", why, len(self._store))
        self._up, self._why = up, why
        self._tell(self._on_state, up, why)

    def _tell(self, listener: Callable[..., None], *what: object) -> None:
        """A listener's fault is logged and must not end deliveries."""
        try:
            listener(*what)
        except Exception:
            logger.exception("a listener of the outbox failed")

    def _note_lost(self, cause: DropCause, lost: Counter[DropKey]) -> None:
        if self._losses.record(cause, lost, self._now()):
            logger.warning(DROP_MESSAGES[cause])

    def _report_drops(self, lost: Iterable[Dropped]) -> None:
        """Say what was lost, to the log and to subscribers."""
        for shed in lost:
            logger.warning(
                "camera %s: given up (%s): %d pictures, %d events, %d notices",
                *(shed.camera, shed.cause, shed.pictures, shed.events, shed.notices),
            )
            self._losses.count(self._store.append(NoticeMessage.of(shed), self._clock()))
