"""What the daemon found, on its way to Redis: the outbox, the incidents, and what metrics say of them."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from monitor.bootstrap import delivery as build_delivery
from monitor.delivery.outbox import Outbox
from monitor.delivery.sinks.redis import ImageStats
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
"""The name under which the outbox keeps the state of incidents."""


class EventPublisher:
    """Takes findings and notices, keeps them, and sends them on as Redis takes them.

    Making one asks Redis whether it would take them, and opens the outbox's file. Raises MonitorError.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._sink = build_delivery.build_redis_sink(settings)
        self._preflight()
        self._store = build_delivery.build_outbox_queue(settings)
        self._incidents = build_delivery.incidents(settings, self._store.shelf.note(_INCIDENTS))
        self._lock = threading.Lock()  # frames come in the report loop, incidents' ends in the main one
        self._trouble: str | None = None
        self._shed: Counter[DroppedKind] = Counter()
        self._pictures = ImageStats()
        self._daemon = build_delivery.daemon_id(settings)
        self._clashes: dict[str, str] = {}
        self._claims = build_delivery.build_leases(settings, self._daemon, self.on_conflict)
        self._outbox: Outbox | None = None

    def start(self, stop: threading.Event) -> None:
        """Claim the cameras' names, and begin to send.

        Where another daemon has a name, waits some seconds, or until `stop` is set, whether it still runs.
        Raises MonitorError if it does.
        """
        self._claims.start(stop)
        self._outbox = Outbox(
            self._sink,
            store=self._store,
            max_age=self._settings.outbox.max_age,
            on_connection_change=self._redis_changed,
            on_delivered=self._delivered,
        )

    def publish(self, finding: Finding, flagged: FlaggedFrame, jpeg: bytes, raw: bytes | None) -> None:
        """Keep the event of a flagged frame, with its pictures."""
        novelty = flagged.novelty
        event = document.build_event(
            finding,
            model_name=flagged.handle.spec.name,
            model_sha256=flagged.handle.spec.sha256,
            keys=self._sink.keys,
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
            parcel = EventMessage.of(event, jpeg, raw, ready_after=time.monotonic() - captured)
            self._running.put(parcel, began=captured, notes={_INCIDENTS: self._incidents.state()})
            self._publish_incidents()
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
        """Keep a word on what was not inspected, or on a camera's state."""
        self._running.put(NoticeMessage.of(happened))

    def watch(self, cameras: Iterable[str]) -> None:
        """From now on these are the cameras whose names are claimed."""
        wanted = set(cameras)
        self._claims.watch(wanted)
        self._clashes = {name: other for name, other in self._clashes.items() if name in wanted}

    def tick(self) -> None:
        """End incidents whose time is over, and measure what waits; to be called several times a second."""
        waiting = self._running.stats()
        self._metrics.outbox(waiting.events, waiting.bytes, waiting.oldest_seconds)
        self._metrics.outbox_durable(waiting.durable)
        # Claims are renewed when there is nothing to send, too: a Redis that went away meanwhile is noticed.
        self._metrics.redis_up(waiting.connected is not False and self._claims.trouble is None)
        shed: dict[DroppedKind, int] = {
            "pictures": waiting.shed_pictures,
            "events": waiting.shed_events,
            "notices": waiting.shed_notices,
        }
        for kind, count in shed.items():
            self._metrics.outbox_dropped(kind, count - self._shed[kind])
        self._shed = Counter(shed)
        self._measure_pictures()
        with self._lock:
            self._incidents.expire(datetime.now(UTC))
            self._publish_incidents()

    def problems(self) -> list[str]:
        """What is amiss, a sentence each."""
        clashes = [
            f"another daemon, {other}, watches a camera named {name}" for name, other in self._clashes.items()
        ]
        redis = self._trouble or self._claims.trouble
        return [trouble for trouble in (redis, self._store.shelf.trouble()) if trouble] + clashes

    def waiting(self) -> int:
        """Events that wait for Redis."""
        return 0 if self._outbox is None else self._outbox.stats().events

    def flush(self, timeout: float) -> DeliveryError | None:
        """Send what can be sent in `timeout` seconds; the error if something is lost by ending now."""
        if not self._running.stats().durable:  # no later run will know of them
            with self._lock:
                self._incidents.close_all()
                self._publish_incidents()
        self._running.flush(timeout)
        durable = self._running.stats().durable
        left = self._running.close()
        if not left:
            return None
        why = self._trouble or "out of time"
        if durable:
            path = build_delivery.outbox_path(self._settings)
            log.warning(
                "%d events or notices wait in %s and go out after the next start: %s", left, path, why
            )
            return None
        return DeliveryError(f"{left} events or notices were not delivered: {why}")

    def close(self) -> None:
        """Give back the cameras' names and the outbox's file."""
        self._claims.close()
        self._store.shelf.close()

    @property
    def _running(self) -> Outbox:
        if self._outbox is None:
            raise RuntimeError("delivery was not started")
        return self._outbox

    def _publish_incidents(self) -> None:
        """Publish starts and ends, each in one step with the state that has it told."""
        while (report := self._incidents.pop_report()) is not None:
            self._running.put(report.notice(), notes={_INCIDENTS: self._incidents.state()})
            log.info(
                "incident",
                extra={
                    "phase": report.phase,
                    "incident": report.id,
                    "camera": report.camera,
                    "frames": report.events,
                },
            )

    def _measure_pictures(self) -> None:
        before, now = self._pictures, self._sink.image_ledger
        self._metrics.picture_bytes(now.kept_bytes)
        self._metrics.pictures_removed(now.removed - before.removed)
        for cause, count in now.withheld.items():
            self._metrics.images_stripped(cause, count - before.withheld.get(cause, 0))
        self._pictures = now

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
        self._running.put(NoticeMessage.of(NameConflict(camera, self._daemon, other, datetime.now(UTC))))

    def _preflight(self) -> None:
        """A Redis that is away may come back; a wrong password at the start is a mistake to mend now."""
        try:
            self._sink.check()
        except DeliveryError as error:
            if error.permanent:
                raise
            log.warning("starting without Redis", extra={"why": str(error)})

    def _redis_changed(self, up: bool, why: str | None) -> None:
        self._trouble = None if up else why

    def _delivered(self, item: OutboxMessage, seconds: float) -> None:
        if isinstance(item, EventMessage):
            self._metrics.on_stage(item.camera, "publish", max(0.0, seconds - item.processing_seconds))
            label = document.Event.from_json(item.document).label
            self._metrics.event(item.camera, label, seconds)
