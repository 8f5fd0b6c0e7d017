"""What metrics tell of delivery: each acknowledged message, and the state of the outbox."""

import json
from collections import Counter

from monitor.delivery.outbox import Outbox
from monitor.delivery.storage import DroppedKind
from monitor.events.messages import EventMessage, OutboxMessage
from monitor.redis_streams.lease import CameraLeases
from monitor.telemetry.metrics import Metrics


class DeliveryRecorder:
    """Measures acknowledged messages; a `SenderObserver`, called in a sender's thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_connection_change(self, sink: str, connected: bool, reason: str | None) -> None:
        """Do nothing: the state of the connection is measured by `OutboxMeter`."""

    def on_delivered(self, sink: str, message: OutboxMessage, seconds: float) -> None:
        """Record an acknowledged event, `seconds` after its frame's capture."""
        if isinstance(message, EventMessage):
            publish = max(0.0, seconds - message.processing_seconds)
            self._metrics.on_stage(message.camera, "publish", publish)
            self._metrics.event(message.camera, json.loads(message.document)["label"], seconds)

    def on_set_aside(self, sink: str, message: OutboxMessage, reason: str) -> None:
        """Count a message that was set aside."""
        self._metrics.outbox_set_aside(sink)


class OutboxMeter:
    """Measures the outbox.

    `leases` are renewed also when there is nothing to deliver, so a Redis that is away is noticed in seconds.
    """

    def __init__(self, outbox: Outbox, leases: CameraLeases, metrics: Metrics) -> None:
        self._outbox = outbox
        self._leases = leases
        self._metrics = metrics
        self._dropped: Counter[DroppedKind] = Counter()

    def measure(self) -> None:
        """Update the metrics; to be called every second or more often."""
        stats = self._outbox.stats()
        self._metrics.outbox(stats.events, stats.bytes, stats.oldest_seconds)
        self._metrics.outbox_durable(stats.durable)
        self._metrics.redis_up(stats.connected is not False and self._leases.problem is None)
        dropped: dict[DroppedKind, int] = {
            "pictures": stats.shed_pictures,
            "events": stats.shed_events,
            "notices": stats.shed_notices,
            "verdicts": stats.shed_verdicts,
        }
        for kind, count in dropped.items():
            self._metrics.outbox_dropped(kind, count - self._dropped[kind])
        self._dropped = Counter(dropped)

    def problems(self) -> list[str]:
        """Return what is wrong with delivery, a sentence each."""
        problems = self._outbox.problems()
        lease = self._leases.problem
        return problems if lease is None or lease in problems else [*problems, lease]
