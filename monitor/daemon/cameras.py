"""The cameras that are watched: started, changed while running, heard, ended."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial

from monitor.capture.camera import Camera
from monitor.records import CameraStateChange, Gap
from monitor.settings import CameraSettings
from monitor.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


UNOBSERVED_STATES = ("down", "stalled", "frozen", "misconfigured")
"""States in which nobody looks at what passes a camera."""


UNUSABLE_CAUSES = ("unreadable", "damaged", "unusable", "misconfigured", "frozen")
"""Causes for which a frame counts as `unusable`: it came, but shows nothing that could be judged."""


class CameraManager:
    """The cameras of the settings. `make` makes one, not started; `watch` has its frames judged.
    `arrived` hears of each frame of a camera, and of its end.

    What a camera says is counted, logged, and handed to `notice`.
    """

    def __init__(
        self,
        factory: Callable[..., Camera],
        *,
        watch: Callable[[Camera], None],
        on_frame: Callable[[str], None],
        publish_notice: Callable[[Gap | CameraStateChange], None],
        metrics: Metrics,
    ) -> None:
        self._make = factory
        self._watch = watch
        self._arrived = on_frame
        self._notice = publish_notice
        self._metrics = metrics
        self._cameras: dict[str, Camera] = {}
        self._settings: dict[str, CameraSettings] = {}
        self._changes: dict[str, CameraStateChange] = {}
        self._broken: dict[str, str] = {}
        self._lock = threading.Lock()  # the states are heard in the cameras' threads

    def update(
        self,
        wanted: Iterable[CameraSettings],
        *,
        not_running_since: datetime | None = None,
        patience: float = 2.0,
    ) -> None:
        """Watch exactly these cameras: new ones are added, others removed, changed ones opened anew.

        A camera whose settings are as before is not touched. A removed one is given `patience` seconds to
        close its source, and what it has captured is judged. No camera was watched since
        `not_running_since`.
        """
        dark = None if not_running_since is None else ("not-running", not_running_since)
        settings = {camera.name: camera for camera in wanted}
        for name in [name for name in self._settings if name not in settings]:
            self._remove(name, patience)
            self._metrics.remove_camera(name)
            log.info("camera is watched no more", extra={"camera": name})
        for name, camera in settings.items():
            if self._settings.get(name) == camera:
                continue
            self._metrics.add_camera(name)
            # What a file holds was not missed while nobody read it.
            number, since = 0, None if camera.inspects_every_frame else dark
            if name in self._cameras:
                since = "reload", datetime.now(UTC)
                number = self._remove(name, patience)
            fresh = self._make(
                camera,
                report=self.happened,
                on_frame=partial(self._arrived, name),
                on_frame_read=partial(self._metrics.on_stage, name, "capture"),
            )
            self._settings[name], self._cameras[name] = camera, fresh
            self._watch(fresh)
            fresh.start(number, since)

    def stop(self, timeout: float) -> None:
        """End all cameras within `timeout` seconds together."""
        enders = [
            threading.Thread(target=camera.stop, args=(timeout,), name=f"end {name}")
            for name, camera in self._cameras.items()
        ]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()

    def abandon(self) -> None:
        """Tell as lost what still waits to be judged; after `stop`."""
        for camera in self._cameras.values():
            camera.drop_queued()

    def failures(self) -> list[str]:
        """What ended cameras that should not have ended, a sentence each."""
        with self._lock:
            return list(self._broken.values())

    def states(self) -> Mapping[str, str]:
        """The state of each camera."""
        with self._lock:
            return {name: change.state for name, change in self._changes.items()}

    def pids(self) -> Mapping[str, int]:
        """The capture process of each camera that has one just now."""
        found = {name: camera.pid for name, camera in list(self._cameras.items())}
        return {name: pid for name, pid in found.items() if pid is not None}

    def all_attempted(self) -> bool:
        """Whether each camera has delivered a frame or said why not."""
        return all(state != "starting" for state in self.states().values())

    def waiting(self) -> Mapping[str, int]:
        """Frames of each camera that wait for the judge."""
        return {name: camera.queued for name, camera in list(self._cameras.items())}

    def progress(self) -> Mapping[str, float]:
        """When the supervision of each camera that has not ended last gave a sign of life (monotonic)."""
        states = self.states()
        return {
            f"camera {name}": camera.progressed_at
            for name, camera in self._cameras.items()
            if states.get(name) != "ended"
        }

    def happened(self, happened: Gap | CameraStateChange) -> None:
        """Count and publish what was not inspected, and cameras' changes of state."""
        if isinstance(happened, CameraStateChange):
            self._record_state(happened)
        else:
            self._record_gap(happened)
        self._notice(happened)

    def _remove(self, name: str, patience: float) -> int:
        """Ends a camera; the number that its next frame would have had."""
        camera = self._cameras.pop(name)
        del self._settings[name]
        camera.stop(patience)
        with self._lock:
            self._changes.pop(name, None)
            self._broken.pop(name, None)
        return camera.next_frame_number

    def _record_gap(self, gap: Gap) -> None:
        told = {"camera": gap.camera, "frames": gap.frames, "cause": gap.cause, "why": gap.detail}
        if gap.cause in UNUSABLE_CAUSES:
            self._metrics.unusable(gap.camera, gap.frames)
            log.warning("frames could not be judged", extra=told)
        elif gap.frames:
            self._metrics.dropped(gap.camera, gap.cause, gap.frames)
            log.warning("frames were not inspected", extra=told)
        else:
            seconds = (gap.ended_at - gap.started_at).total_seconds()
            log.warning("nothing was inspected for %.1f s", seconds, extra=told)

    def _record_state(self, change: CameraStateChange) -> None:
        with self._lock:
            before = self._changes.get(change.camera)
            self._changes[change.camera] = change
            if change.state == "ended" and before is not None and before.state in ("down", "stalled"):
                self._broken[change.camera] = f"camera {change.camera}: {before.detail}"
        self._metrics.camera_state(change.camera, change.state)
        bad = change.state in UNOBSERVED_STATES
        if change.state in ("down", "stalled") and change.cause is not None:
            self._metrics.reconnect(change.camera, change.cause)
        log.log(
            logging.WARNING if bad else logging.INFO,
            "camera is %s",
            change.state,
            extra={"camera": change.camera, "cause": change.cause, "why": change.detail},
        )
