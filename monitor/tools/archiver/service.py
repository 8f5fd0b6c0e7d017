"""The archiver's loop: from a consumer group of the streams into the archive."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

from prometheus_client import Counter

from monitor.errors import MonitorError
from monitor.events.event import Event
from monitor.events.labels import Label
from monitor.events.samples import Sample
from monitor.redis_streams.consumer_group import MissedEntries, UnreadableEntry
from monitor.redis_streams.subscriber import Subscriber
from monitor.telemetry.http_server import HealthReport
from monitor.telemetry.systemd import SystemdNotifier
from monitor.tools.archiver.archive import Archive, ArchiveError
from monitor.tools.archiver.metrics import ArchiveMetrics

logger = logging.getLogger(__name__)

_STUCK_AFTER = 60.0
"""Seconds without progress after which `/healthz` answers 503."""
_POLL_INTERVAL = 1.0
"""Seconds between two looks for new entries, once all were read."""
_MAX_IN_TURN = 500
"""Documents of one stream that are archived before those of the next one."""

_Document = TypeVar("_Document")


class Connect(Protocol):
    """Makes a subscriber that reports to these functions and raises as soon as Redis is away."""

    def __call__(
        self, *, on_unreadable: Callable[[UnreadableEntry], None], on_missed: Callable[[MissedEntries], None]
    ) -> Subscriber:
        """Return it, with the credentials as they are now."""


class Archiver:
    """Stores every event, sample and label that `group` has not had; acknowledges it once it is on disk.

    `consumer` is the archiver's name in the group, the same after a restart: what it was given and did not
    acknowledge then comes first. While Redis is away or the archive takes nothing, it tries again every
    `retry_interval` seconds, and nothing is acknowledged.
    """

    def __init__(
        self,
        connect: Connect,
        archive: Archive,
        metrics: ArchiveMetrics,
        *,
        group: str = "archive",
        consumer: str = "archiver",
        notifier: SystemdNotifier | None = None,
        retry_interval: float = 5.0,
    ) -> None:
        self._connect, self._archive, self._metrics = connect, archive, metrics
        self._group, self._consumer = group, consumer
        self._notifier = notifier or SystemdNotifier()
        self._retry_interval = retry_interval
        self._stopping = threading.Event()
        self._problem: str | None = "starting"
        self._heartbeat = time.monotonic()

    def stop(self) -> None:
        """Ask `run` to end after the event under way. Callable from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Archive until `stop` is called. Raises SettingsError, UsageError."""
        self._subscriber().close()  # without the network: wrong settings end it at the start, and later wait
        self._notifier.ready(self._status())
        while not self._should_stop():
            try:
                with self._subscriber() as subscriber:
                    self._follow(subscriber)
            except MonitorError as error:
                self._set_problem(str(error))
                self._wait()
        self._notifier.stopping()

    def liveness(self) -> HealthReport:
        """Report whether the loop made progress within the last minute."""
        stuck = time.monotonic() - self._heartbeat > _STUCK_AFTER
        return HealthReport(not stuck, {"stuck": ["archive"] if stuck else []})

    def readiness(self) -> HealthReport:
        """Report whether events are archived, and what is degraded."""
        problem = self._problem
        return HealthReport(problem is None, {"degraded": [problem] if problem else []})

    def _subscriber(self) -> Subscriber:
        return self._connect(on_unreadable=self._on_unreadable, on_missed=self._on_missed)

    def _follow(self, subscriber: Subscriber) -> None:
        """Archive what comes, in turn of each stream; return when stopped before something was stored."""
        group, me, stop = self._group, self._consumer, self._should_stop
        self._set_problem(None)
        while not stop():
            events = subscriber.work(group, me, start="0", wait=False, stop=stop)
            samples = subscriber.work_samples(group, me, wait=False, stop=stop)
            labels = subscriber.work_labels(group, me, wait=False, stop=stop)
            if not (
                self._archive_all(events, partial(self._archive_event, subscriber))
                and self._archive_all(samples, partial(self._archive_sample, subscriber))
                and self._archive_all(labels, self._archive_label)
            ):
                return
            self._stopping.wait(_POLL_INTERVAL)

    def _archive_all(
        self, work: Iterable[tuple[_Document, Callable[[], None]]], store: Callable[[_Document], bool]
    ) -> bool:
        """Store documents, so many that no other stream waits for long; False: stopped before."""
        for document, acknowledge in islice(work, _MAX_IN_TURN):
            if not store(document):
                return False
            acknowledge()
        return True

    def _archive_event(self, subscriber: Subscriber, event: Event) -> bool:
        annotated, raw = subscriber.picture(event), subscriber.raw_picture(event)
        keys = ((event.image.frame_key, annotated), (event.image.raw_key, raw))
        missing = sum(key is not None and image is None for key, image in keys)
        return self._archive_document(
            lambda: self._archive.store(event, annotated, raw), self._metrics.events, event.id, missing
        )

    def _archive_sample(self, subscriber: Subscriber, sample: Sample) -> bool:
        png = subscriber.sample_image(sample)
        return self._archive_document(
            lambda: self._archive.store_sample(sample, png), self._metrics.samples, sample.id, png is None
        )

    def _archive_label(self, label: Label) -> bool:
        return self._archive_document(
            lambda: self._archive.store_label(label), self._metrics.labels, label.id, 0
        )

    def _archive_document(self, store: Callable[[], bool], stored: Counter, name: str, missing: int) -> bool:
        """Store a document; try until the archive takes it. False: stopped before.

        `missing` of its images were not in Redis any more.
        """
        while True:
            try:
                is_new = store()
            except ArchiveError as error:
                self._metrics.full.set(error.is_full)
                self._set_problem(str(error))
                self._wait()
                if self._should_stop():
                    return False
            else:
                break
        self._set_problem(None)
        self._metrics.measure()
        if is_new:
            stored.inc()
            if missing:
                self._metrics.images_missing.inc(missing)
                logger.warning("image expired before it was archived", extra={"of": name})
        return True

    def _on_missed(self, missed: MissedEntries) -> None:
        since, until = f"{missed.since:%Y-%m-%dT%H:%M:%SZ}", f"{missed.until:%Y-%m-%dT%H:%M:%SZ}"
        self._metrics.missed.inc()
        self._metrics.last_missed.set_to_current_time()
        fields = {"stream": missed.stream, "from": since, "to": until}
        logger.error("entries were trimmed away before they were archived", extra=fields)
        self._archive.note("missed", stream=missed.stream, **{"from": since, "to": until})

    def _on_unreadable(self, entry: UnreadableEntry) -> None:
        self._metrics.unreadable.inc()
        logger.error("entry not archived", extra={"entry": entry.entry, "reason": entry.reason})
        self._archive.note("unreadable", entry=entry.entry, reason=entry.reason)

    def _set_problem(self, problem: str | None) -> None:
        """Log and report a change between archiving and not, or of the reason."""
        self._metrics.up.set(problem is None)
        if problem is None:
            self._metrics.full.set(False)
        if problem == self._problem:
            return
        if problem is None:
            logger.info("archiving", extra={"to": str(self._archive.path), "bytes": self._archive.size})
        else:
            logger.warning("%s; retrying", problem)
        self._problem = problem
        self._beat()

    def _status(self) -> str:
        return self._problem or f"archiving into {self._archive.path}"

    def _should_stop(self) -> bool:
        """Return whether to stop; asked at least every second, so it is the heartbeat as well."""
        self._beat()
        return self._stopping.is_set()

    def _beat(self) -> None:
        self._heartbeat = time.monotonic()
        self._notifier.update({}, self._status())

    def _wait(self) -> None:
        until = time.monotonic() + self._retry_interval
        while not self._should_stop() and time.monotonic() < until:
            self._stopping.wait(min(1.0, self._retry_interval))
