"""Keeps messages until each sink has taken them: queue, a sender for each sink, a thread that writes."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sender import SinkSender
from monitor.delivery.storage import DroppedKind
from monitor.events.messages import OutboxMessage

logger = logging.getLogger(__name__)


_RETRY_INTERVAL = 1.0  # seconds between attempts of the writing thread while nothing changes


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """The backlog now (`oldest_seconds`: the age of its oldest message), and what was lost so far.

    `connected`: whether the last delivery of every sink succeeded, None before the first. `durable`: whether
    the whole backlog outlives this process. `set_aside`: messages by sink.
    """

    events: int
    bytes: int
    oldest_seconds: float
    connected: bool | None
    shed_pictures: int
    shed_events: int
    shed_notices: int
    shed_verdicts: int
    durable: bool
    set_aside: Mapping[str, int]


class Outbox:
    """Takes messages at once, whatever the network and the disk do; writes and sends them in threads.

    Example: `Outbox(queue, [SinkSender(sink, queue)])`, then `start`, `put`, `flush`, `close`.
    """

    def __init__(self, queue: OutboxQueue, senders: Sequence[SinkSender]) -> None:
        self._queue, self._senders = queue, tuple(senders)
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="outbox-disk", daemon=True)

    def start(self) -> None:
        """Begin to write and to send."""
        self._writer.start()
        for sender in self._senders:
            sender.start()

    def put(
        self,
        message: OutboxMessage,
        started_at: float | None = None,
        *,
        state: Mapping[str, str] | None = None,
    ) -> int:
        """Add a message to the queue, without waiting; return its key, for `wait_until_stored`.

        `started_at` is the monotonic moment from which its delivery is counted, such as that of the capture;
        without it, now. `state` is stored in the same step. Raises RuntimeError after `close`.
        """
        if self._closing:
            raise RuntimeError("the outbox is closed")
        age = 0.0 if started_at is None else max(0.0, time.monotonic() - started_at)
        return self._queue.append(message, age=age, state=state)

    def wait_until_stored(self, key: int, timeout: float) -> bool:
        """Wait until a message is on disk, or delivered, and return whether it is.

        Returns True at once where no file is used, and False at once while the disk fails.
        """
        deadline = time.monotonic() + timeout
        storage = self._queue.storage
        with self._queue.changed:
            while not storage.is_settled(key):
                left = deadline - time.monotonic()
                if left <= 0 or storage.problem() is not None:
                    return False
                self._queue.changed.wait(left)
        return True

    def state(self, name: str) -> str | None:
        """Return the latest state of this name, of an earlier run too."""
        return self._queue.storage.state(name)

    def fraction_of(self, kind: DroppedKind) -> float:
        """Return the fraction of the outbox (0..1) that messages of this kind take."""
        return self._queue.fraction_of(kind)

    def stats(self) -> OutboxStats:
        """Return the backlog and what was lost. Never waits for network or disk."""
        queue, counts = self._queue, self._queue.drops.counts
        states = [sender.connected for sender in self._senders]
        return OutboxStats(
            events=len(queue),
            bytes=queue.size,
            oldest_seconds=queue.oldest_age(),
            connected=False if False in states else None if None in states else True,
            shed_pictures=counts["pictures"],
            shed_events=counts["events"],
            shed_notices=counts["notices"],
            shed_verdicts=counts["verdicts"],
            durable=queue.storage.durable,
            set_aside={sender.name: sender.set_aside for sender in self._senders},
        )

    def problems(self) -> list[str]:
        """Return what is wrong with the disk and with each sink, a sentence each."""
        found = [self._queue.storage.problem()]
        for sender in self._senders:
            found += [sender.reason, sender.refused()]
        return [problem for problem in found if problem]

    def unwritten(self) -> int:
        """Return how many messages would be lost with this process now; after `close`, how many are."""
        return self._queue.storage.unwritten

    def stopped_threads(self) -> list[str]:
        """Return the names of threads that should run and do not."""
        if self._closing or self._writer.ident is None:
            return []
        dead = [sender.name for sender in self._senders if not sender.alive]
        return dead if self._writer.is_alive() else [*dead, self._writer.name]

    def flush(self, timeout: float) -> int:
        """Wait until everything is delivered, `timeout` seconds at most; return how many are left."""
        deadline = time.monotonic() + timeout
        with self._queue.changed:
            self._set_flushing(True)
            while (len(self._queue) or self._queue.drops.pending) and (
                left := deadline - time.monotonic()
            ) > 0:
                self._queue.changed.wait(min(left, 0.1))
            self._set_flushing(False)
            return len(self._queue)

    def close(self, timeout: float = 5.0) -> int:
        """Stop sending, after the deliveries under way or `timeout` seconds; return what is left."""
        deadline = time.monotonic() + timeout
        for sender in self._senders:
            sender.close(deadline)
        self._queue.report_all_drops()  # on disk, they are published after the restart
        with self._queue.changed:
            self._closing = True
            self._queue.changed.notify_all()
        if self._writer.ident is None:
            self._queue.storage.close()
        else:
            self._writer.join(max(0.5, deadline - time.monotonic()))
        return len(self._queue)

    def _set_flushing(self, flushing: bool) -> None:
        for sender in self._senders:
            sender.flushing = flushing
        self._queue.changed.notify_all()

    def _write(self) -> None:
        """Write what changes, outside every lock that inspection needs."""
        while not self._closing:
            try:
                self._queue.commit()
            except Exception:
                logger.exception("writing the outbox failed in an unforeseen way")
            with self._queue.changed:
                if not self._closing and not self._queue.storage.has_changes:
                    self._queue.changed.wait(_RETRY_INTERVAL)
        self._queue.storage.close()
