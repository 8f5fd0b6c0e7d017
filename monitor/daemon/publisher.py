"""Turns findings into events and incidents, and puts them into the outbox."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from monitor.bootstrap import delivery as build_delivery
from monitor.delivery.outbox import Outbox
from monitor.delivery.sender import SinkSender
from monitor.delivery.storage import DroppedKind
from monitor.errors import DeliveryError
from monitor.events import event as document
from monitor.events.coverage import NameConflict
from monitor.events.messages import EventMessage, NoticeMessage, OutboxMessage
from monitor.pipeline.interfaces import FlaggedFrame
from monitor.records import CameraStateChange, Finding, Gap
from monitor.settings import Settings
from monitor.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


_INCIDENTS = "incidents"
"""The name under which the outbox stores the state of incidents."""


_STORE_TIMEOUT = 2.0
"""Seconds that an event may take to reach the disk before its camera's next explanation goes on without."""


class EventPublisher:
    """Takes findings and notices, stores them, and sends them on as each sink takes them.

    Making one opens the outbox's file and touches no network. Raises MonitorError.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._daemon = build_delivery.daemon_id(settings)
        sink = build_delivery.build_redis_sink(settings, self._daemon, metrics)
        self._queue = build_delivery.build_outbox_queue(settings, [sink.name])
        self._outbox = Outbox(self._queue, [SinkSender(sink, self._queue, self)])
        self._incidents = build_delivery.incidents(settings, self._outbox.state(_INCIDENTS))
        self._lock = threading.Lock()  # frames come in the report loop, incidents' ends in the main one
        self._shed: Counter[DroppedKind] = Counter()
        self._clashes: dict[str, str] = {}
        self._claims = build_delivery.build_leases(settings, self._daemon, self.on_conflict)
        self._started = False

    def start(self, stop: threading.Event) -> None:
        """Lease the cameras' names, and begin to send.

        Where another daemon has a name, waits some seconds, or until `stop` is set, whether it still runs.
        Raises MonitorError if it does.
        """
        self._claims.start(stop)
        self._started = True
        self._outbox.start()

    def publish(self, finding: Finding, flagged: FlaggedFrame, jpeg: bytes, raw: bytes | None) -> None:
        """Store the event of a flagged frame, with its images. Waits for the disk, unless it hangs."""
        novelty = flagged.novelty
        event = document.build_event(
            finding,
            model_name=flagged.handle.spec.name,
            model_sha256=flagged.handle.spec.sha256,
            familiarity=None
            if novelty is None
            else document.EventFamiliarity(
                distance=round(novelty.distance, 4), limit=novelty.limit, unfamiliar=novelty.is_novel
            ),
            daemon=self._daemon,
        )
        captured = finding.frame.monotonic
        with self._lock:
            event = event.model_copy(update={"incident": self._incidents.observe(event)})
            message = EventMessage.of(event, jpeg, raw, processing_seconds=time.monotonic() - captured)
            key = self._outbox.put(message, captured, state={_INCIDENTS: self._incidents.state()})
            self._publish_incidents()
        self._outbox.wait_until_stored(key, _STORE_TIMEOUT)  # outside the lock, which the main loop needs
        log.info(
            "defect",
            extra={
                "event": event.id,
                "camera": event.camera,
                "score": event.score,
                "regions": len(event.regions),
                "unfamiliar": event.familiarity and event.familiarity.unfamiliar,
            },
        )

    def publish_notice(self, happened: Gap | CameraStateChange) -> None:
        """Store a notice of what was not inspected, or of a camera's state. Waits for nothing."""
        self._outbox.put(NoticeMessage.of(happened))

    def watch(self, cameras: Iterable[str]) -> None:
        """From now on these are the cameras whose names are claimed."""
        wanted = set(cameras)
        self._claims.set_cameras(wanted)
        self._clashes = {name: other for name, other in self._clashes.items() if name in wanted}

    def tick(self) -> None:
        """End incidents whose time is over, and measure the backlog; to be called several times a second."""
        stats = self._outbox.stats()
        self._metrics.outbox(stats.events, stats.bytes, stats.oldest_seconds)
        self._metrics.outbox_durable(stats.durable)
        # Leases are renewed when there is nothing to send, too: a Redis that went away meanwhile is noticed.
        self._metrics.redis_up(stats.connected is not False and self._claims.problem is None)
        shed: dict[DroppedKind, int] = {
            "pictures": stats.shed_pictures,
            "events": stats.shed_events,
            "notices": stats.shed_notices,
        }
        for kind, count in shed.items():
            self._metrics.outbox_dropped(kind, count - self._shed[kind])
        self._shed = Counter(shed)
        with self._lock:
            self._incidents.expire(datetime.now(UTC))
            self._publish_incidents()

    def problems(self) -> list[str]:
        """Return what is wrong with delivery, a sentence each."""
        clashes = [
            f"another daemon, {other}, watches a camera named {name}" for name, other in self._clashes.items()
        ]
        stopped = [f"thread {name} of the outbox has stopped" for name in self._outbox.stopped_threads()]
        found = self._outbox.problems()
        if self._outbox.stats().connected is not False and self._claims.problem:
            found.append(self._claims.problem)
        return [*found, *stopped, *clashes]

    def waiting(self) -> int:
        """Return how many messages are in the outbox."""
        return self._outbox.stats().events

    def flush(self, timeout: float) -> DeliveryError | None:
        """Send what can be sent in `timeout` seconds; return the error if something is lost by ending now."""
        if not self._outbox.stats().durable:  # no later run will know of them
            with self._lock:
                self._incidents.close_all()
                self._publish_incidents()
        self._outbox.flush(timeout)
        left = self._outbox.close()
        reason = "; ".join(self._outbox.problems()) or "out of time"
        if lost := self._outbox.unwritten():
            return DeliveryError(f"{lost} events or notices were not delivered: {reason}")
        if left:
            log.warning(
                "undelivered events stay in the outbox and are sent after the next start",
                extra={
                    "messages": left,
                    "path": str(build_delivery.outbox_path(self._settings)),
                    "reason": reason,
                },
            )
        return None

    def close(self) -> None:
        """Give back the cameras' names and the outbox's file."""
        self._claims.close()
        if not self._started:
            self._queue.storage.close()

    def _publish_incidents(self) -> None:
        """Publish starts and ends, each in one step with the state that has it told."""
        while (report := self._incidents.pop_report()) is not None:
            self._outbox.put(report.notice(), state={_INCIDENTS: self._incidents.state()})
            log.info(
                "incident",
                extra={
                    "phase": report.phase,
                    "incident": report.id,
                    "camera": report.camera,
                    "frames": report.events,
                },
            )

    def on_conflict(self, camera: str, other: str | None) -> None:
        """Record which other daemon holds the name of a camera; None: none does any more."""
        clashes = {name: holder for name, holder in self._clashes.items() if name != camera}
        self._clashes = clashes if other is None else {**clashes, camera: other}
        self._metrics.name_conflict(camera, other is not None)
        if other is None:
            log.info("no other daemon watches a camera of this name any more", extra={"camera": camera})
        else:
            log.error(
                "another daemon watches a camera of this name; events of both are in the same streams, told "
                "apart by `daemon` alone: give one another name, or a redis.prefix",
                extra={"camera": camera, "other": other},
            )
        self._outbox.put(NoticeMessage.of(NameConflict(camera, self._daemon, other, datetime.now(UTC))))

    def on_connection_change(self, sink: str, connected: bool, reason: str | None) -> None:
        """Do nothing: `tick` reads the state of every sink."""

    def on_delivered(self, sink: str, message: OutboxMessage, seconds: float) -> None:
        """Measure the delivery of an event."""
        if sink == "redis" and isinstance(message, EventMessage):
            self._metrics.on_stage(message.camera, "publish", max(0.0, seconds - message.processing_seconds))
            label = document.Event.from_json(message.document).label
            self._metrics.event(message.camera, label, seconds)

    def on_set_aside(self, sink: str, message: OutboxMessage, reason: str) -> None:
        """Count a message that a sink never takes."""
        del message, reason
        self._metrics.outbox_set_aside(sink)
