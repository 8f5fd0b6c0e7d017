"""The cameras that are inspected: started, changed while the daemon runs, and stopped."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from monitor.capture.camera import Camera
from monitor.capture.config import CaptureConfig
from monitor.capture.viewer import FrameViewer, NoViewer
from monitor.daemon.coverage import CoverageRecorder
from monitor.pipeline.inference_stage import InferenceStage
from monitor.records import CameraStateChange, Gap
from monitor.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


_DRAIN_TIMEOUT = 10.0
"""Seconds that the queued frames of stopped cameras may take until the models change."""


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """A camera's capture process and its supervision; times are in seconds, see `monitor.capture.camera`."""

    name: str
    capture: CaptureConfig
    stall_timeout: float
    startup_timeout: float
    expected_fps: float | None


class CameraFactory(Protocol):
    """Makes a camera that is not started."""

    def __call__(
        self,
        config: CameraConfig,
        *,
        report: Callable[[Gap | CameraStateChange], None],
        on_frame: Callable[[], None],
        on_frame_read: Callable[[float], None],
        viewer: FrameViewer,
    ) -> Camera:
        """Make the camera of `config`; the callbacks and `viewer` are those of `Camera`."""


class CameraManager:
    """Runs the cameras. `update` and `stop` are for one thread at a time, the others for any thread."""

    def __init__(
        self,
        factory: CameraFactory,
        inference: InferenceStage,
        coverage: CoverageRecorder,
        metrics: Metrics,
        *,
        viewer: FrameViewer = NoViewer(),  # noqa: B008 (it has no state)
    ) -> None:
        self._factory = factory
        self._inference = inference
        self._coverage = coverage
        self._metrics = metrics
        self._viewer = viewer
        self._cameras: Mapping[str, Camera] = {}  # replaced, never changed: other threads iterate over it
        self._configs: Mapping[str, CameraConfig] = {}
        self._removed: dict[str, int] = {}  # the next frame number of each camera that was removed
        self._stopped = False
        self._lock = threading.Lock()  # no camera is started after the stop

    def update(
        self,
        configs: Sequence[CameraConfig],
        *,
        not_running_since: datetime | None = None,
        switch: Callable[[], None] | None = None,
        timeout: float = 2.0,
    ) -> None:
        """Inspect exactly the cameras of `configs`: add new ones, remove others, open changed ones again.

        A camera whose configuration is as before is not touched. Those that go or change are stopped side by
        side within about 2 `timeout` seconds; the frames that they have captured are classified. Nothing was
        inspected since `not_running_since`. `switch` is called once the frames of the stopped cameras are
        taken, or after 10 s, and before another camera is started.
        """
        wanted = {config.name: config for config in configs}
        removed = [name for name in self._configs if name not in wanted]
        changed = [name for name, config in wanted.items() if self._configs.get(name, config) != config]
        changed_at = datetime.now(UTC)
        stopped = {name: self._cameras[name] for name in (*removed, *changed)}
        _stop_all(stopped, timeout)
        if switch is not None:
            deadline = time.monotonic() + _DRAIN_TIMEOUT
            while any(camera.queued for camera in stopped.values()) and time.monotonic() < deadline:
                time.sleep(0.01)
            switch()
        for name in (*removed, *changed):
            self._coverage.remove_camera(name)
        for name in removed:
            self._metrics.remove_camera(name)
            self._removed[name] = stopped[name].next_frame_number
            logger.info("camera removed", extra={"camera": name})
        cameras = {name: camera for name, camera in self._cameras.items() if name not in stopped}
        with self._lock:
            if self._stopped:
                return
            for name, config in wanted.items():
                if name in cameras:
                    continue
                number, unobserved_since = self._removed.pop(name, 0), None
                if name in stopped:
                    number, unobserved_since = stopped[name].next_frame_number, ("reload", changed_at)
                elif not_running_since is not None and not config.capture.every:
                    # The frames of a file were not missed while nobody read it.
                    unobserved_since = ("not-running", not_running_since)
                cameras[name] = self._create(config)
                cameras[name].start(number, unobserved_since)
                self._inference.add_camera(cameras[name])
            self._cameras, self._configs = cameras, wanted

    def stop(self, timeout: float) -> None:
        """Stop all cameras side by side within about 2 `timeout` seconds."""
        with self._lock:
            self._stopped = True
        _stop_all(self._cameras, timeout)

    def drop_queued(self) -> None:
        """Report every frame that was not classified as a gap; after `stop`."""
        for camera in self._cameras.values():
            camera.drop_queued()

    @property
    def configs(self) -> Mapping[str, CameraConfig]:
        """The configuration of each camera that is inspected, by name; never changed, but replaced."""
        return self._configs

    @property
    def has_ended(self) -> bool:
        """Whether every camera has ended and its frames were taken."""
        return all(camera.ended for camera in self._cameras.values())

    @property
    def all_attempted(self) -> bool:
        """Whether each camera has delivered a frame or reported why not."""
        states = self._coverage.states()
        return all(states.get(name, "starting") != "starting" for name in self._cameras)

    def next_frame_numbers(self) -> Mapping[str, int]:
        """Return how many frames of each camera were numbered in this run, removed cameras included."""
        cameras = {name: camera.next_frame_number for name, camera in self._cameras.items()}
        return {**self._removed, **cameras}

    def pids(self) -> Mapping[str, int]:
        """Return the capture process of each camera that has one."""
        pids = {name: camera.pid for name, camera in self._cameras.items()}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def queued(self) -> Mapping[str, int]:
        """Return the number of frames of each camera that are not yet taken for classification."""
        return {name: camera.queued for name, camera in self._cameras.items()}

    def heartbeats(self) -> Mapping[str, float]:
        """Return when the supervision of each camera last made progress, in monotonic seconds."""
        states = self._coverage.states()
        return {
            f"camera {name}": camera.progressed_at
            for name, camera in self._cameras.items()
            if states.get(name) != "ended"
        }

    def _create(self, config: CameraConfig) -> Camera:
        self._metrics.add_camera(config.name)
        return self._factory(
            config,
            report=self._coverage.record,
            on_frame=self._inference.notify,
            on_frame_read=partial(self._on_frame_read, config.name),
            viewer=self._viewer,
        )

    def _on_frame_read(self, name: str, seconds: float) -> None:
        self._metrics.on_stage(name, "capture", seconds)
        self._metrics.on_frame(name, time.time())


def _stop_all(cameras: Mapping[str, Camera], timeout: float) -> None:
    """Stop cameras side by side."""
    threads = [
        threading.Thread(target=camera.stop, args=(timeout,), name=f"stop {name}", daemon=True)
        for name, camera in cameras.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 2 * timeout + 1
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
