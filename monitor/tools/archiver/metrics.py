"""The metrics of an archiver."""

import math

from prometheus_client import Counter, Gauge, ProcessCollector

from monitor.telemetry.metrics import create_registry
from monitor.tools.archiver.archive import Archive


class ArchiveMetrics:
    """Measure an archive and what goes into it, in a registry of its own."""

    def __init__(self, archive: Archive) -> None:
        self.registry = create_registry()

        def counter(name: str, help_text: str) -> Counter:
            return Counter(f"archive_{name}", help_text, namespace="defect_monitor", registry=self.registry)

        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(f"archive_{name}", help_text, namespace="defect_monitor", registry=self.registry)

        self.up = gauge("up", "1 while events are read from Redis and written to the archive, otherwise 0.")
        self.full = gauge("full", "1 while the archive takes nothing for lack of room, otherwise 0.")
        self.events = counter("events_total", "Events stored in the archive.")
        self.samples = counter("samples_total", "Samples stored in the archive.")
        self.labels = counter("labels_total", "Labels stored in the archive.")
        self.images_missing = counter(
            "images_missing_total",
            "Images that Redis held no longer when their event or sample was archived.",
        )
        self.missed = counter(
            "missed_total", "Times that events were trimmed away from Redis before the archiver read them."
        )
        self.last_missed = gauge(
            "last_missed_timestamp_seconds", "Unix time of the last of them; NaN: none since the start."
        )
        self.last_missed.set(math.nan)
        self.unreadable = counter(
            "unreadable_total", "Entries that were no event, or were trimmed away before they were archived."
        )
        self._removed = counter("removed_events_total", "Events removed with their day to make room.")
        self._bytes = gauge("bytes", "Size of the archived events and images.")
        gauge("max_bytes", "Limit of that size.").set(archive.max_bytes)
        ProcessCollector(registry=self.registry)
        self._archive, self._seen = archive, 0
        self.measure()

    def measure(self) -> None:
        """Record the archive's size and what was removed from it; in the thread that writes to it."""
        self._bytes.set(self._archive.size)
        self._removed.inc(self._archive.removed_events - self._seen)
        self._seen = self._archive.removed_events
