"""Sends the outbox's messages to one sink, in order, through every outage."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sinks.base import Sink
from monitor.delivery.storage import OutboxEntry, StorageReadError
from monitor.errors import DeliveryError
from monitor.events.messages import OutboxMessage

logger = logging.getLogger(__name__)


_BATCH_ITEMS, _BATCH_BYTES = 32, 4_000_000  # one script call, which occupies the server for milliseconds


_ATTEMPTS = 3  # of a message alone before the sender tries those behind it


_ROUNDS = 5  # of attempts with nothing behind it to try before a message is set aside


_MAX_ALONE = 3  # messages set aside one after another without a single delivery in between


_MAX_SUSPECTS = 100  # refused in a row: then it is the sink that fails


_CHECK_INTERVAL = 1.0  # seconds between checks for old messages and due reports


class SenderObserver(Protocol):
    """Is notified by a sender, in its thread."""

    def on_connection_change(self, sink: str, connected: bool, reason: str | None) -> None:
        """A sink answers, or does not for this reason: the first result, and each change."""

    def on_delivered(self, sink: str, message: OutboxMessage, seconds: float) -> None:
        """A sink has acknowledged a message, so many seconds after the moment given to `Outbox.put`."""

    def on_set_aside(self, sink: str, message: OutboxMessage, reason: str) -> None:
        """A message was set aside, because the sink never takes it."""


class SinkSender:
    """Delivers to one sink, in a thread with its own backoff and state, so no sink delays another.

    A failed delivery is repeated after `initial_backoff` seconds, doubled up to `max_backoff`, less a random
    half; a failure that only a person can fix waits `max_backoff` at once. DeliveryError is repeated without
    end. Any other exception is taken for the fault of a message: the batch is halved down to the one at
    fault. It is set aside, with the reason, once a message behind it went through right after it was refused
    again, or after many attempts while the sink passes its check. `jitter` gives numbers of 0..1.
    """

    def __init__(
        self,
        sink: Sink,
        queue: OutboxQueue,
        observer: SenderObserver | None = None,
        *,
        initial_backoff: float = 0.2,
        max_backoff: float = 15.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.sink, self.name = sink, sink.name
        self.connected: bool | None = None
        self.reason: str | None = None
        self.set_aside = 0
        self._queue, self._observer = queue, observer
        self._initial_backoff, self._max_backoff, self._jitter = initial_backoff, max_backoff, jitter
        self._closing = self.flushing = False
        self._limit = _BATCH_ITEMS
        self._attempts = self._rounds = self._alone = 0
        self._suspects: list[tuple[OutboxEntry, str]] = []
        self._thread = threading.Thread(
            target=self._run, name="outbox" if self.name == "redis" else f"outbox-{self.name}", daemon=True
        )

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def refused(self) -> str | None:
        """Return which message the sink refuses now, and why; None if it takes them."""
        return next((f"{self.name} refuses {entry.message.id}: {why}" for entry, why in self._suspects), None)

    def close(self, deadline: float) -> None:
        """Stop after the delivery under way, or at `deadline` (monotonic); close the sink if it has ended."""
        with self._queue.changed:
            self._closing = True
            self._queue.changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if not self._thread.is_alive():
            self.sink.close()

    def _run(self) -> None:
        failures = 0
        while not self._closing:
            try:
                failure = self._send_next()
            except StorageReadError as error:
                failure = DeliveryError(str(error))
            except Exception:  # a bug here must not end deliveries
                logger.exception("sending failed in an unforeseen way", extra={"sink": self.name})
                self._queue.release(self.name)
                failure = DeliveryError("sending failed in an unforeseen way")
            failures = 0 if failure is None else failures + 1
            if failure is not None:
                self._pause(self._backoff(failures, failure.permanent))

    def _send_next(self) -> DeliveryError | None:
        """Deliver the next batch, or wait for one; return why to pause."""
        self._queue.maintain(hurried=self.flushing)
        after = self._suspects[-1][0].key if self._suspects else None
        batch = self._queue.next_batch(self.name, self._limit, _BATCH_BYTES, after)
        if not batch:
            if self._suspects:
                return self._retry_suspects()
            if not self.connected:  # a wrong password is noticed before the first event
                return self._check()
            self._wait_for_messages()
            return None
        try:
            if self._retry_each_suspect():
                return None
            result = self.sink.deliver(batch)
        except DeliveryError as error:
            self._queue.release(self.name)
            self._set_state(False, str(error))
            return error
        except Exception as error:
            self._queue.release(self.name)
            return self._narrow_down(batch, error)
        self._accept(batch[: result.delivered])
        if result.stripped:
            self._queue.record_stripped(batch, result.stripped)
        return None

    def _accept(self, delivered: list[OutboxEntry]) -> None:
        self._set_aside(len(self._suspects))
        seconds = [self._queue.age(entry) for entry in delivered]
        self._limit = min(_BATCH_ITEMS, 2 * self._limit)
        self._attempts = self._rounds = self._alone = 0
        self._set_state(True, None)
        if self._observer is not None:
            for entry, took in zip(delivered, seconds, strict=True):
                self._notify(self._observer.on_delivered, self.name, entry.message, took)
        # Last, so that after a flush every observer has been notified.
        self._queue.acknowledge(self.name, delivered[-1].key)

    def _narrow_down(self, batch: list[OutboxEntry], error: Exception) -> DeliveryError | None:
        """Halve a batch that failed; after some attempts with a single message go on behind it."""
        if len(batch) > 1:
            self._limit = len(batch) // 2
            return None
        self._attempts += 1
        reason = _describe(error)
        if self._attempts == 1 and not self._rounds:
            logger.warning(
                "sink refuses a message",
                extra={"sink": self.name, "message_id": batch[0].message.id, "error": reason},
                exc_info=error,
            )
        if self._attempts < _ATTEMPTS:
            return DeliveryError(reason)
        self._attempts = 0
        self._suspects.append((batch[0], reason))
        return self._retry_suspects() if len(self._suspects) > _MAX_SUSPECTS else None

    def _retry_each_suspect(self) -> bool:
        """Try again what was refused, because the sink may have recovered; return whether one went through.

        Once a message behind them is delivered, it is too late: the sink takes messages in order only.
        """
        for index, (entry, _) in enumerate(self._suspects):
            try:
                self.sink.deliver([entry])
            except DeliveryError:
                raise
            except Exception:  # noqa: S112 (it was logged the first time)
                continue
            self._suspects = self._suspects[:index]
            self._accept([entry])
            return True
        return False

    def _retry_suspects(self) -> DeliveryError:
        """Begin again with the first that was refused: nothing behind them went through."""
        self._rounds += 1
        reason = self._suspects[0][1]
        several = len(self._suspects) > _MAX_SUSPECTS
        if self._rounds >= _ROUNDS and not several and self._alone < _MAX_ALONE and self._check() is None:
            self._set_aside(1)
            self._alone, self._rounds = self._alone + 1, 0
        if several:
            self._set_state(False, reason)
        self._suspects.clear()
        self._limit = 1
        return DeliveryError(reason)

    def _check(self) -> DeliveryError | None:
        """Return why the sink would take nothing now; None if it would."""
        try:
            self.sink.check()
        except DeliveryError as error:
            failure = error
        except Exception as error:
            failure = DeliveryError(_describe(error))
        else:
            self._set_state(True, None)
            return None
        self._set_state(False, str(failure))
        return failure

    def _set_aside(self, count: int) -> None:
        refused, self._suspects = self._suspects[:count], self._suspects[count:]
        if not refused:
            return
        self._queue.set_aside(self.name, refused)
        self.set_aside += count
        for entry, reason in refused:
            logger.error(
                "message set aside",
                extra={"sink": self.name, "message_id": entry.message.id, "error": reason},
            )
            if self._observer is not None:
                self._notify(self._observer.on_set_aside, self.name, entry.message, reason)

    def _wait_for_messages(self) -> None:
        with self._queue.changed:
            if not self._closing and not self._queue.pending(self.name):
                self._queue.changed.wait(_CHECK_INTERVAL)

    def _backoff(self, failures: int, permanent: bool) -> float:
        doubled = self._initial_backoff * 2.0 ** min(failures - 1, 30)
        longest = self._max_backoff if permanent else min(self._max_backoff, doubled)
        return longest * (1 - self._jitter() / 2)

    def _pause(self, seconds: float) -> None:
        """Wait before the next attempt: not at all when closing, briefly when flushing."""
        started_at = time.monotonic()
        with self._queue.changed:
            while not self._closing:
                limit = min(seconds, self._initial_backoff) if self.flushing else seconds
                left = started_at + limit - time.monotonic()
                if left <= 0:
                    return
                self._queue.changed.wait(left)

    def _set_state(self, connected: bool, reason: str | None) -> None:
        """Log and pass on a change between connected and not, or of the reason."""
        if (connected, reason) == (self.connected, self.reason):
            return
        backlog = {"sink": self.name, "backlog": self._queue.pending(self.name)}
        if connected and self.connected is False:
            logger.info("sink takes messages again", extra=backlog)
        elif not connected:
            logger.warning("%s; retrying", reason, extra=backlog)
        self.connected, self.reason = connected, reason
        if self._observer is not None:
            self._notify(self._observer.on_connection_change, self.name, connected, reason)

    def _notify(self, notify: Callable[..., None], *arguments: object) -> None:
        """Notify the observer, whose fault is logged and must not end deliveries."""
        try:
            notify(*arguments)
        except Exception:
            logger.exception("an observer of the outbox failed", extra={"sink": self.name})


def _describe(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
    return " ".join(text.split())[:300]
