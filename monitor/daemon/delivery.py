"""What the daemon found, on its way to Redis: the outbox, the incidents, and what metrics say of them."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from monitor import assembly
from monitor.classify.card import Card
from monitor.errors import DeliveryError
from monitor.measure.metrics import Metrics
from monitor.pipeline.judge import Flagged
from monitor.publish import document
from monitor.publish.coverage import Clash
from monitor.publish.outbox import Outbox
from monitor.publish.parcel import Item, Notice, Parcel
from monitor.publish.redis_sink import PictureCounts
from monitor.publish.store import Kind
from monitor.records import CameraChange, Finding, Gap
from monitor.settings import Settings

log = logging.getLogger(__name__)

_INCIDENTS = "incidents"
"""The name under which the outbox keeps the state of incidents."""


class Delivery:
    """Takes findings and notices, keeps them, and sends them on as Redis takes them.

    Making one asks Redis whether it would take them, and opens the outbox's file. Raises MonitorError.
    """

    def __init__(self, settings: Settings, card: Card, metrics: Metrics) -> None:
        self._settings = settings
        self._card = card
        self._metrics = metrics
        self._sink = assembly.sink(settings)
        self._refuse_what_waiting_cannot_mend()
        self._store = assembly.store(settings)
        self._incidents = assembly.incidents(settings, self._store.shelf.note(_INCIDENTS))
        self._lock = threading.Lock()  # frames come in the report loop, incidents' ends in the main one
        self._trouble: str | None = None
        self._shed: Counter[Kind] = Counter()
        self._pictures = PictureCounts()
        self._daemon = assembly.identity(settings)
        self._clashes: dict[str, str] = {}
        self._claims = assembly.claims(settings, self._daemon, self._clash_changed)
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
            on_state=self._redis_changed,
            on_delivered=self._delivered,
        )

    def publish(self, finding: Finding, flagged: Flagged, jpeg: bytes, raw: bytes | None) -> None:
        """Keep the event of a flagged frame, with its pictures."""
        novelty = flagged.novelty
        event = document.build_event(
            finding,
            model_name=self._card.name,
            model_sha256=self._card.model.sha256,
            keys=self._sink.keys,
            familiarity=None
            if novelty is None
            else document.Familiarity(
                distance=round(novelty.distance, 4), limit=novelty.limit, unfamiliar=novelty.unfamiliar
            ),
            daemon=self._daemon,
        )
        captured = finding.frame.monotonic
        with self._lock:
            event = event.model_copy(update={"incident": self._incidents.observe(event)})
            parcel = Parcel.of(event, jpeg, raw, ready_after=time.monotonic() - captured)
            self._running.put(parcel, began=captured, notes={_INCIDENTS: self._incidents.state()})
            self._tell_incidents()
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

    def notice(self, happened: Gap | CameraChange) -> None:
        """Keep a word on what was not inspected, or on a camera's state."""
        self._running.put(Notice.of(happened))

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
        self._metrics.redis_up(waiting.up is not False and self._claims.trouble is None)
        shed: dict[Kind, int] = {
            "pictures": waiting.shed_pictures,
            "events": waiting.shed_events,
            "notices": waiting.shed_notices,
        }
        for kind, count in shed.items():
            self._metrics.outbox_shed(kind, count - self._shed[kind])
        self._shed = Counter(shed)
        self._measure_pictures()
        with self._lock:
            self._incidents.expire(datetime.now(UTC))
            self._tell_incidents()

    def troubles(self) -> list[str]:
        """What is amiss, a sentence each."""
        clashes = [
            f"another daemon, {other}, watches a camera named {name}" for name, other in self._clashes.items()
        ]
        redis = self._trouble or self._claims.trouble
        return [trouble for trouble in (redis, self._store.shelf.trouble()) if trouble] + clashes

    def waiting(self) -> int:
        """Events that wait for Redis."""
        return 0 if self._outbox is None else self._outbox.stats().events

    def finish(self, timeout: float) -> DeliveryError | None:
        """Send what can be sent in `timeout` seconds; the error if something is lost by ending now."""
        if not self._running.stats().durable:  # no later run will know of them
            with self._lock:
                self._incidents.end_all()
                self._tell_incidents()
        self._running.drain(timeout)
        durable = self._running.stats().durable
        left = self._running.close()
        if not left:
            return None
        why = self._trouble or "out of time"
        if durable:
            path = assembly.outbox_path(self._settings)
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

    def _tell_incidents(self) -> None:
        """Publish starts and ends, each in one step with the state that has it told."""
        while (report := self._incidents.next_report()) is not None:
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
        before, now = self._pictures, self._sink.pictures
        self._metrics.picture_bytes(now.kept_bytes)
        self._metrics.pictures_removed(now.removed - before.removed)
        for cause, count in now.withheld.items():
            self._metrics.pictures_withheld(cause, count - before.withheld.get(cause, 0))
        self._pictures = now

    def _clash_changed(self, camera: str, other: str | None) -> None:
        clashes = {name: holder for name, holder in self._clashes.items() if name != camera}
        self._clashes = clashes if other is None else {**clashes, camera: other}
        self._metrics.name_clash(camera, other is not None)
        if other is None:
            log.info("no other daemon watches a camera of this name any more", extra={"camera": camera})
        else:
            log.error(
                "another daemon watches a camera of this name; events of both are in the same streams, told "
                "apart by `daemon` alone: give one another name, or a redis.prefix",
                extra={"camera": camera, "other": other},
            )
        self._running.put(Notice.of(Clash(camera, self._daemon, other, datetime.now(UTC))))

    def _refuse_what_waiting_cannot_mend(self) -> None:
        """A Redis that is away may come back; a wrong password at the start is a mistake to mend now."""
        try:
            self._sink.check()
        except DeliveryError as error:
            if error.permanent:
                raise
            log.warning("starting without Redis", extra={"why": str(error)})

    def _redis_changed(self, up: bool, why: str | None) -> None:
        self._trouble = None if up else why

    def _delivered(self, item: Item, seconds: float) -> None:
        if isinstance(item, Parcel):
            self._metrics.stage(item.camera, "publish", max(0.0, seconds - item.ready_after))
            self._metrics.event(item.camera, self._card.classes[self._card.defect_class], seconds)
