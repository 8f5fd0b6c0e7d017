"""The life of a running daemon: its parts are started, supervised, reloaded and stopped in order."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from monitor.daemon.cameras import CameraConfig, CameraManager
from monitor.daemon.coverage import CoverageRecorder
from monitor.daemon.delivery_metrics import OutboxMeter
from monitor.daemon.health import Health
from monitor.daemon.publisher import EventPublisher
from monitor.daemon.verdicts import VerdictRecorder
from monitor.delivery.outbox import Outbox
from monitor.errors import MonitorError
from monitor.inference.router import ModelRouter
from monitor.pipeline.explanation_stage import ExplanationStage
from monitor.pipeline.inference_stage import InferenceStage
from monitor.redis_streams.lease import CameraLeases
from monitor.redis_streams.stream_monitor import StreamMonitor
from monitor.telemetry.heartbeat import HeartbeatFile
from monitor.telemetry.http_server import HttpServer
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.supervised_thread import BackgroundPart, SupervisedThread
from monitor.telemetry.systemd import SystemdNotifier

logger = logging.getLogger(__name__)


_CAMERAS_TIMEOUT, _INFERENCE_TIMEOUT, _EXPLANATION_TIMEOUT, _DELIVERY_TIMEOUT = 1.0, 1.0, 1.5, 2.0
"""Seconds for each part of a stop, cameras and explanation twice: below 10 together."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload gives: the cameras to inspect, and what takes effect at the next start only.

    `switch` changes the models, after the last frame of the old cameras and before the first of the new ones;
    None: they stay.
    """

    cameras: Sequence[CameraConfig]
    switch: Callable[[], None] | None
    not_applied: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonParts:
    """What a daemon consists of, made and not started; see `monitor.bootstrap.daemon`.

    - `configs`: the cameras to inspect at first
    - `sink_checks`: each raises DeliveryError unless its broker would take messages now
    - `verdicts`: None where verdicts are not published
    - `background`: starts with the cameras
    - `inference_thread`, `explanation_thread`: run `inference` and `explanation`
    - `reload`: applies the settings as they are now; raises MonitorError where they are refused
    """

    configs: Sequence[CameraConfig]
    cameras: CameraManager
    coverage: CoverageRecorder
    router: ModelRouter
    inference: InferenceStage
    inference_thread: SupervisedThread
    explanation: ExplanationStage
    explanation_thread: SupervisedThread
    outbox: Outbox
    outbox_meter: OutboxMeter
    sink_checks: Sequence[Callable[[], None]]
    publisher: EventPublisher
    verdicts: VerdictRecorder | None
    leases: CameraLeases
    stream_monitor: StreamMonitor
    background: Sequence[BackgroundPart]
    metrics: Metrics
    health: Health
    http: HttpServer
    heartbeat_file: HeartbeatFile
    notifier: SystemdNotifier
    reload: Callable[[], Reloaded]


class Daemon:
    """Everything between the cameras and the sinks."""

    def __init__(self, parts: DaemonParts) -> None:
        self._parts = parts
        self._stopping = threading.Event()
        self._reload_requested, self._is_reloading = threading.Event(), threading.Event()
        self._failure: Exception | None = None
        self._configs = parts.configs
        self._is_inspecting = self._is_announced = False
        self._lock = threading.Lock()  # guards the cameras' configurations and whether they are inspected
        self.port = parts.http.port

    def stop(self) -> None:
        """Ask `run` to end: it finishes what is flagged and returns. Callable from a signal handler."""
        self._stopping.set()

    def reload(self) -> None:
        """Ask for the settings to be read again. Callable from a signal handler."""
        self._reload_requested.set()

    def queue_depths(self) -> Mapping[str, int]:
        """Return the length of every queue: frames of each camera, flagged frames, messages in the outbox."""
        parts = self._parts
        cameras = {f"camera {name}": count for name, count in parts.cameras.queued().items()}
        return {**cameras, "report": parts.explanation.queued, "outbox": parts.outbox.stats().events}

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until every part runs and every camera was tried, `timeout` seconds at most."""
        return self._parts.health.wait_until_ready(timeout)

    def run(self) -> None:
        """Inspect the cameras until all have ended or `stop` is called; before, stand by for another daemon.

        Raises MonitorError where a part fails for good or something flagged could not be delivered.
        """
        parts = self._parts
        try:
            threading.Thread(target=self._reload_on_request, name="reload", daemon=True).start()
            parts.outbox.start()
            parts.stream_monitor.thread.start()
            self._check_sinks()
            parts.router.load()
            parts.metrics.models(parts.router.descriptions())
            # With the models loaded, so that a standby inspects as soon as it gets the leases.
            if parts.leases.start(self._stopping, self._stand_by):
                self._supervise()
        finally:
            parts.http.close()
            parts.stream_monitor.close()
            for part in parts.background:
                part.close()
            parts.leases.close()
            parts.outbox.close(0)
            parts.router.close()
        if self._failure is not None:
            raise self._failure

    def _check_sinks(self) -> None:
        """Log what no sink takes now. It stays in the outbox: inspection does not depend on a sink."""
        for check in self._parts.sink_checks:
            try:
                check()
            except MonitorError as error:
                logger.warning("sink unavailable at the start", extra={"why": str(error)})
        self._parts.outbox_meter.measure()

    def _stand_by(self, holders: Mapping[str, str]) -> None:
        """Stay alive while other daemons inspect our cameras, for which no series exist meanwhile."""
        parts = self._parts
        if not parts.health.is_standby:
            logger.warning("standing by: another daemon inspects these cameras", extra={"holders": holders})
            for config in self._configs:
                parts.metrics.remove_camera(config.name)
        parts.health.set_standby(holders)
        self._tick()
        self._notify_manager({})
        self._reload_if_requested()

    def _supervise(self) -> None:
        """Run until the cameras end, a stop is asked for, or a thread fails; then stop all in order."""
        parts = self._parts
        since = parts.heartbeat_file.last_seen
        if parts.health.is_standby:  # the other daemon inspected at least until its last renewal
            since = datetime.now(UTC) - timedelta(seconds=parts.leases.ttl + 1)
            parts.health.set_standby({})
        if (recipe := parts.router.routing.recipe) is not None:
            parts.publisher.publish_recipe(recipe, None)
        with self._lock:
            self._is_inspecting = True
            if parts.verdicts is not None:
                parts.verdicts.start(config.name for config in self._configs)
            parts.cameras.update(self._configs, not_running_since=since)
        parts.inference_thread.start()
        parts.explanation_thread.start()
        for part in parts.background:
            part.start()
        try:
            self._watch()
        except Exception as error:
            self._failure = error
            logger.exception("thread failed", extra={"loop": "main"})
        parts.health.set_ready(False)
        self._failure = self._failure or parts.health.failure()
        if self._failure is None and not self._stopping.is_set() and (failed := parts.coverage.failures()):
            self._failure = MonitorError("; ".join(failed))
        logger.info("stopping")
        self._shut_down()

    def _watch(self) -> None:
        parts, health = self._parts, self._parts.health
        while not self._stopping.wait(0.1) and health.failure() is None:
            self._tick()
            parts.heartbeat_file.touch()
            is_reloading = self._reload_if_requested() if health.is_ready else self._is_reloading.is_set()
            if not is_reloading and parts.cameras.has_ended:
                return
            if not health.is_ready and parts.cameras.all_attempted:
                health.set_ready(True)
                fields = {"cameras": len(self._configs), "metrics": f"port {self.port}"}
                logger.info("watching", extra=fields)
                self._is_announced = False
            if health.is_ready or self._is_announced:
                self._notify_manager(health.inspection_heartbeats())

    def _notify_manager(self, heartbeats: Mapping[str, float]) -> None:
        """Report to the service manager that the daemon is active, once, and its status and keep-alive."""
        status = self._parts.health.status()
        if not self._is_announced:
            self._is_announced = True
            self._parts.notifier.ready(status)
        self._parts.notifier.update(heartbeats, status)

    def _reload_if_requested(self) -> bool:
        """Begin a reload that was requested; return whether one is under way."""
        if self._reload_requested.is_set() and not self._is_reloading.is_set():
            self._reload_requested.clear()
            self._is_reloading.set()
        return self._is_reloading.is_set()

    def _reload_on_request(self) -> None:
        # Cameras that hang must not delay the watchdog. A new thread each time kept a heap with what it read.
        while self._is_reloading.wait():
            self._reload()
            self._is_reloading.clear()

    def _tick(self) -> None:
        self._parts.health.beat()
        self._parts.outbox_meter.measure()
        self._parts.publisher.expire_incidents()
        if self._parts.verdicts is not None:
            self._parts.verdicts.flush()

    def _shut_down(self) -> None:
        """Stop the cameras, then finish or report every frame, then deliver."""
        parts = self._parts
        inference, explanation = parts.inference_thread, parts.explanation_thread
        parts.cameras.stop(_CAMERAS_TIMEOUT)
        parts.inference.close()
        if explanation.failure is not None:  # nothing empties its queue, which may block the inference
            parts.explanation.drop_queued("fault")
        self._wait_for(inference)
        inference.join(_INFERENCE_TIMEOUT)
        if inference.is_alive():  # the queue of flagged frames is full, or too many frames are queued
            parts.explanation.skip_explanations()
        parts.cameras.drop_queued()
        inference.join(_INFERENCE_TIMEOUT)
        parts.explanation.close()
        self._wait_for(explanation)
        parts.notifier.stopping()
        explanation.join(_EXPLANATION_TIMEOUT)
        parts.explanation.skip_explanations()
        explanation.join(_EXPLANATION_TIMEOUT)
        parts.explanation.drop_queued("stopping")
        if self._failure is None and (inference.is_alive() or explanation.is_alive()):
            self._failure = MonitorError("a thread did not finish in time: its frames are reported as gaps")
        if parts.verdicts is not None:
            parts.verdicts.finish(parts.cameras.next_frame_numbers())
        lost = parts.publisher.finish(_DELIVERY_TIMEOUT)
        self._failure = self._failure or lost

    def _wait_for(self, thread: SupervisedThread) -> None:
        """Let a thread finish, without a limit where the input has ended: then there is time."""
        while thread.is_alive() and not self._stopping.is_set() and self._failure is None:
            thread.join(0.1)
            self._tick()
            self._failure = self._parts.health.failure()
            self._parts.notifier.update({thread.name: thread.last_heartbeat}, "finishing what is flagged")

    def _reload(self) -> None:
        """Apply the settings as they are now; settings that are refused change nothing."""
        parts = self._parts
        parts.notifier.reloading()
        try:
            reloaded = parts.reload()
            with self._lock:
                self._configs = reloaded.cameras
                if self._is_inspecting:
                    parts.cameras.update(reloaded.cameras, switch=reloaded.switch)
                elif reloaded.switch is not None:
                    reloaded.switch()
            names = [config.name for config in reloaded.cameras]
            parts.leases.set_cameras(names)
            parts.publisher.set_cameras(names)
            parts.health.set_reload_failure(None)
            logger.info("settings reloaded", extra={"cameras": len(names)})
            if reloaded.not_applied:
                logger.warning(
                    "changes of these take effect at the next start only: %s", ", ".join(reloaded.not_applied)
                )
        except MonitorError as error:
            parts.health.set_reload_failure(str(error))
            logger.error("the settings are refused, the old ones stay in force: %s", error)  # noqa: TRY400
        except Exception as error:
            parts.health.set_reload_failure(type(error).__name__)
            logger.exception("the reload failed")
        parts.notifier.ready(parts.health.status())
