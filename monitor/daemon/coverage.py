"""What was not inspected: counted, logged and published."""

import logging
import threading
from collections.abc import Callable, Mapping

from monitor.pipeline.interfaces import OnGap, ignore
from monitor.records import CameraStateChange, Gap
from monitor.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


UNOBSERVED_STATES = ("down", "stalled", "frozen", "misconfigured")
"""States in which nothing that passes the camera is inspected."""


UNUSABLE_CAUSES = ("unreadable", "unusable", "frozen", "damaged", "misconfigured")
"""Causes for which a frame counts as `unusable`: it came, and cannot be classified."""


class CoverageRecorder:
    """Records gaps and changes of cameras' states. Callable from any thread; the callbacks must not block."""

    def __init__(
        self,
        metrics: Metrics,
        publish: Callable[[Gap | CameraStateChange], None],
        on_gap: OnGap = ignore,
    ) -> None:
        self._metrics = metrics
        self._on_gap = on_gap
        self._publish = publish
        self._changes: dict[str, CameraStateChange] = {}
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()

    def record(self, occurrence: Gap | CameraStateChange) -> None:
        """Count, log and publish frames or a time without inspection, or a change of a camera's state."""
        if isinstance(occurrence, CameraStateChange):
            self._record_state(occurrence)
        else:
            self._record_gap(occurrence)
            self._on_gap(occurrence)
        self._publish(occurrence)

    def states(self) -> Mapping[str, str]:
        """Return the present state of each camera."""
        with self._lock:
            return {name: change.state for name, change in self._changes.items()}

    def failures(self) -> list[str]:
        """Return what ended cameras that should not have ended, one sentence each."""
        with self._lock:
            return list(self._failures.values())

    def remove_camera(self, camera: str) -> None:
        """Forget the state of a camera that is no longer inspected."""
        with self._lock:
            self._changes.pop(camera, None)
            self._failures.pop(camera, None)

    def _record_gap(self, gap: Gap) -> None:
        fields = {"camera": gap.camera, "frames": gap.frames, "cause": gap.cause, "why": gap.detail}
        if gap.cause in UNUSABLE_CAUSES:
            self._metrics.unusable(gap.camera, gap.frames)
            logger.warning("frames cannot be classified", extra=fields)
        elif gap.frames:
            self._metrics.dropped(gap.camera, gap.cause, gap.frames)
            logger.warning("frames were not inspected", extra=fields)
        else:
            seconds = (gap.ended_at - gap.started_at).total_seconds()
            logger.warning("nothing was inspected", extra={**fields, "seconds": round(seconds, 1)})

    def _record_state(self, change: CameraStateChange) -> None:
        with self._lock:
            before = self._changes.get(change.camera)
            self._changes[change.camera] = change
            if change.state == "ended" and before is not None and before.state in ("down", "stalled"):
                self._failures[change.camera] = f"camera {change.camera}: {before.detail}"
        self._metrics.camera_state(change.camera, change.state)
        unobserved = change.state in UNOBSERVED_STATES
        if change.state in ("down", "stalled") and change.cause is not None:
            self._metrics.reconnect(change.camera, change.cause)
        logger.log(
            logging.WARNING if unobserved else logging.INFO,
            "camera is %s",
            change.state,
            extra={"camera": change.camera, "cause": change.cause, "why": change.detail},
        )
