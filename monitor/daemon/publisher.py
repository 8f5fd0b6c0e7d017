"""From findings and notices to messages in the outbox, with the incident of each event."""

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from monitor.delivery.outbox import Outbox
from monitor.errors import DeliveryError
from monitor.events.coverage import NameConflict, RecipeChange
from monitor.events.event import Event, EventFamiliarity, build_event
from monitor.events.incidents import IncidentTracker
from monitor.events.messages import EventMessage, NoticeMessage
from monitor.pipeline.interfaces import FlaggedFrame, ignore
from monitor.records import CameraStateChange, Finding, Frame, Gap
from monitor.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


INCIDENTS = "incidents"
"""The name under which the outbox stores the state of incidents."""


_STORE_TIMEOUT = 1.0
"""Seconds to wait for the disk. After that the event is delivered from memory; readiness reports the disk."""


class EventPublisher:
    """Puts events and notices into the outbox. Callable from any thread; never waits for the network.

    `on_event` receives each event with its frame; it must not block.
    """

    def __init__(
        self,
        outbox: Outbox,
        incidents: IncidentTracker,
        daemon_id: str,
        metrics: Metrics,
        on_event: Callable[[Event, Frame], None] = ignore,
    ) -> None:
        self._outbox = outbox
        self._incidents = incidents
        self._daemon_id = daemon_id
        self._metrics = metrics
        self._on_event = on_event
        self._conflicts: dict[str, str] = {}
        self._lock = threading.Lock()  # guards the incidents and the conflicts

    def publish(self, finding: Finding, flagged: FlaggedFrame, jpeg: bytes | None, raw: bytes | None) -> None:
        """Put the event of a flagged frame into the outbox, with its images; wait briefly for the disk."""
        novelty, spec = flagged.novelty, flagged.handle.spec
        event = build_event(
            finding,
            model_name=spec.name,
            model_sha256=spec.sha256,
            familiarity=None
            if novelty is None
            else EventFamiliarity(
                distance=round(novelty.distance, 4), limit=novelty.limit, unfamiliar=novelty.is_novel
            ),
            daemon=self._daemon_id,
            recipe=flagged.recipe,
        )
        with self._lock:
            event = event.model_copy(update={"incident": self._incidents.observe(event)})
            message = EventMessage.of(
                event, jpeg, raw, processing_seconds=sum(finding.latency.values(), start=0.0)
            )
            key = self._outbox.put(
                message, finding.frame.monotonic, state={INCIDENTS: self._incidents.state()}
            )
            self._publish_incidents()
        self._on_event(event, finding.frame)
        self._outbox.wait_until_stored(key, _STORE_TIMEOUT)
        logger.info(
            "defect",
            extra={
                "event": event.id,
                "camera": event.camera,
                "score": event.score,
                "regions": len(event.regions),
                "unfamiliar": event.familiarity and event.familiarity.unfamiliar,
            },
        )

    def publish_notice(self, occurrence: Gap | CameraStateChange) -> None:
        """Put a notice of what was not inspected, or of a camera's state, into the outbox."""
        self._outbox.put(NoticeMessage.of(occurrence))

    def publish_recipe(self, recipe: str | None, previous: str | None) -> None:
        """Log and publish that the line makes the product of `recipe`; None: there is none any more."""
        logger.info("recipe in force", extra={"recipe": recipe, "previous": previous})
        self._outbox.put(NoticeMessage.of(RecipeChange(recipe, previous, datetime.now(UTC))))

    def on_conflict(self, camera: str, holder: str | None) -> None:
        """Publish which other daemon holds the lease of a camera's name; None: none does any more."""
        with self._lock:
            if holder is None:
                self._conflicts.pop(camera, None)
            else:
                self._conflicts[camera] = holder
        self._metrics.name_conflict(camera, holder is not None)
        if holder is None:
            logger.info("camera name is no longer leased by another daemon", extra={"camera": camera})
        else:
            logger.error(
                "camera name is leased by another daemon; the events of both are in the same streams, and "
                "only their field `daemon` tells them apart: rename one camera, or give one daemon another "
                "redis.prefix",
                extra={"camera": camera, "other": holder},
            )
        now = datetime.now(UTC)
        self._outbox.put(NoticeMessage.of(NameConflict(camera, self._daemon_id, holder, now)))

    def set_cameras(self, cameras: Iterable[str]) -> None:
        """Forget the name conflicts of all other cameras."""
        with self._lock:
            self._conflicts = {name: self._conflicts[name] for name in cameras if name in self._conflicts}

    def conflicts(self) -> list[str]:
        """Return the cameras whose names another daemon uses, a sentence each."""
        with self._lock:
            return [
                f"another daemon, {holder}, inspects a camera named {name}"
                for name, holder in self._conflicts.items()
            ]

    def expire_incidents(self) -> None:
        """Publish the end of incidents whose time is over; to be called every second or more often."""
        with self._lock:
            self._incidents.expire(datetime.now(UTC))
            self._publish_incidents()

    def finish(self, timeout: float) -> DeliveryError | None:
        """Deliver what is possible in `timeout` seconds and close the outbox; return what is lost thereby."""
        if not self._outbox.stats().durable:  # no later run knows the open incidents
            with self._lock:
                self._incidents.close_all()
                self._publish_incidents()
        self._outbox.flush(timeout)
        durable = self._outbox.stats().durable
        reason = "; ".join(self._outbox.problems()) or "out of time"
        left = self._outbox.close(timeout)
        if not left:
            return None
        if durable:
            logger.warning(
                "events or notices stay in the outbox file until the next start",
                extra={"messages": left, "reason": reason},
            )
            return None
        return DeliveryError(f"{left} events or notices were not delivered: {reason}")

    def _publish_incidents(self) -> None:
        """Publish starts and ends, each in one step with the state in which it is published."""
        while (report := self._incidents.pop_report()) is not None:
            self._outbox.put(report.notice(), state={INCIDENTS: self._incidents.state()})
            logger.info(
                "incident",
                extra={
                    "phase": report.phase,
                    "incident": report.id,
                    "camera": report.camera,
                    "frames": report.events,
                },
            )
