"""The life of a daemon: its parts are made, started, watched over, and ended in order."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, disable_created_metrics

from monitor import __version__
from monitor.bootstrap import capture as build_capture
from monitor.bootstrap import delivery as build_delivery
from monitor.bootstrap import inference as build_inference
from monitor.daemon.cameras import UNOBSERVED_STATES, CameraManager
from monitor.daemon.publisher import EventPublisher
from monitor.errors import MonitorError, SettingsError
from monitor.inference.scheduler import ArrivalPredictor
from monitor.pipeline.explanation_stage import ExplanationStage
from monitor.pipeline.inference_stage import InferenceStage
from monitor.settings import Settings
from monitor.telemetry.heartbeat import HeartbeatFile
from monitor.telemetry.http_server import HealthReport, HttpServer, start_http_server
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.process_metrics import WorkerProcessCollector
from monitor.telemetry.systemd import SystemdNotifier

log = logging.getLogger(__name__)


STUCK_AFTER = 60.0
"""Seconds without a sign of life after which a loop counts as stuck; a batch takes a fraction of one."""


_CAMERAS_TIMEOUT, _INFERENCE_TIMEOUT, _EXPLANATION_TIMEOUT, _DELIVERY_TIMEOUT = 1.5, 1.0, 1.5, 2.0
"""Seconds that each part of a stop may take, explaining twice: below 10 together."""


class Daemon:
    """Everything between the cameras and Redis, for one file of settings.

    Making one reads the model and takes the port, so that a mistake is said before anything runs. `reread`
    reads the settings again, for `reload`; `service` hears how the daemon fares. Raises MonitorError.
    """

    def __init__(
        self,
        settings: Settings,
        reload_settings: Callable[[], Settings] | None = None,
        service: SystemdNotifier | None = None,
    ) -> None:
        self._settings = settings
        self._reread = reload_settings
        self._service = service or SystemdNotifier()
        self._stopping = threading.Event()
        self._reloading = threading.Event()
        self._failure: Exception | None = None
        self._watching = threading.Event()  # all parts are made
        self._ready = threading.Event()
        self._arrivals = ArrivalPredictor()
        scheduler = build_inference.build_scheduler(settings, self._arrivals.forecast)
        self._router = build_inference.build_router(settings, scheduler)
        # A second series for each metric, which no dashboard asks for. (The function has no annotations.)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._metrics = Metrics(
            self.registry,
            cameras=[camera.name for camera in settings.camera],
            labels=sorted({handle.spec.labels[1] for handle in self._router.handles}),
        )
        self._metrics.build(__version__)
        self._delivery = EventPublisher(settings, self._metrics)
        self._http: HttpServer = start_http_server(
            settings.metrics.host,
            settings.metrics.port,
            registry=self.registry,
            liveness=self._health,
            readiness=self._readiness,
        )
        self.port = self._http.port

    def stop(self) -> None:
        """Ask `run` to end: it finishes what is flagged and returns. Callable from a signal handler."""
        self._stopping.set()

    def reload(self) -> None:
        """Ask for the settings to be read again. Callable from a signal handler."""
        self._reloading.set()

    def queue_depths(self) -> Mapping[str, int]:
        """What waits where: frames of each camera, flagged frames, events. Callable from any thread."""
        if not self._watching.is_set():
            return {}
        cameras = {f"camera {name}": count for name, count in self._line.waiting().items()}
        return {**cameras, "report": self._reporter.queued, "outbox": self._delivery.waiting()}

    def wait_until_ready(self, timeout: float) -> bool:
        """Whether, within `timeout` seconds, every part runs and every camera was tried."""
        return self._ready.wait(timeout)

    def run(self) -> None:
        """Watch the cameras until they end or `stop` is called.

        Raises MonitorError where a part fails for good or something flagged could not be delivered.
        """
        try:
            self._delivery.start(self._stopping)
            self._assemble()
            self._supervise()
        finally:
            self._http.close()
            self._delivery.close()
            self._router.close()
        if self._failure is not None:
            raise self._failure

    def _assemble(self) -> None:
        wanted, arrivals = self._settings, self._arrivals
        self._router.load()
        self._metrics.models(
            [
                (handle.spec.name, handle.spec.sha256, handle.device.description, handle.device.precision)
                for handle in self._router.handles
            ]
        )
        self._reporter = ExplanationStage(
            build_inference.explanation_config(wanted),
            self._delivery.publish,
            self._metrics,
            queue_limit=wanted.explain.queue,
        )
        self._judge = InferenceStage(
            (),
            self._router,
            batch=wanted.inference.batch,
            on_flagged=self._reporter.put,
            report=lambda gap: self._line.happened(gap),  # noqa: PLW0108 (the line is made after the judge)
            observer=self._metrics,
            is_backlogged=self._reporter.is_backlogged,
        )

        def arrived(camera: str) -> None:
            arrivals.record_arrival(camera, time.monotonic())
            self._judge.notify()

        self._line = CameraManager(
            build_capture.camera_factory(wanted, self._router),
            watch=self._judge.watch,
            on_frame=arrived,
            publish_notice=self._delivery.publish_notice,
            metrics=self._metrics,
        )
        arrivals.set_idle = lambda: not self._judge.idle
        WorkerProcessCollector(self.registry, self._line.pids)

    def _supervise(self) -> None:
        """Run the loops until the cameras end, a stop is asked for, or a loop fails; then end in order."""
        self._watching.set()
        life = HeartbeatFile(build_delivery.heartbeat_path(self._settings))
        self._line.update(self._settings.camera, not_running_since=life.last_seen)
        judging = self._start_loop("judge", self._judge.run)
        reporting = self._start_loop("report", self._reporter.run)
        while not self._stopping.wait(0.1) and judging.is_alive() and self._failure is None:
            self._delivery.tick()
            life.touch()
            if not self._ready.is_set() and self._line.all_attempted():
                self._ready.set()
                cameras = len(self._settings.camera)
                log.info("watching", extra={"cameras": cameras, "metrics": f"port {self.port}"})
                self._service.ready(self._status())
            if self._ready.is_set():
                self._service.update(self._progress(), self._status())
                if self._reloading.is_set():
                    self._reloading.clear()
                    self._reload()
        self._ready.clear()
        if self._failure is None and not self._stopping.is_set() and (broken := self._line.failures()):
            self._failure = MonitorError("; ".join(broken))
        log.info("stopping")
        self._end(judging, reporting)

    def _end(self, inference_thread: threading.Thread, explanation_thread: threading.Thread) -> None:
        self._line.stop(_CAMERAS_TIMEOUT)
        inference_thread.join(_INFERENCE_TIMEOUT)
        if (
            inference_thread.is_alive()
        ):  # held back by a full queue of flagged frames, or by too many to judge in time
            self._reporter.skip_explanations()
            self._line.abandon()
            inference_thread.join(_INFERENCE_TIMEOUT)
        self._reporter.close()
        while (
            explanation_thread.is_alive() and not self._stopping.is_set()
        ):  # the input has ended: there is time
            explanation_thread.join(0.1)
            self._service.update({"report": self._reporter.progressed_at}, "finishing what is flagged")
        self._service.stopping()
        explanation_thread.join(_EXPLANATION_TIMEOUT)
        self._reporter.skip_explanations()
        explanation_thread.join(_EXPLANATION_TIMEOUT)
        if self._failure is None and (inference_thread.is_alive() or explanation_thread.is_alive()):
            self._failure = MonitorError("a loop did not finish in time: flagged frames may be lost")
        lost = self._delivery.flush(_DELIVERY_TIMEOUT)
        self._failure = self._failure or lost

    def _reload(self) -> None:
        """Take over the cameras of the settings as they now are; settings that are wrong change nothing."""
        if self._reread is None:
            return
        self._service.reloading()
        try:
            self._apply(self._reread())
        except SettingsError as error:
            log.error("the settings are refused, the old ones stay in force: %s", error)  # noqa: TRY400
        self._service.ready(self._status())

    def _apply(self, fresh: Settings) -> None:
        tables = type(fresh).model_fields
        later = [name for name in tables if getattr(fresh, name) != getattr(self._settings, name)]
        if "camera" in later:
            later.remove("camera")
            self._line.update(fresh.camera)
            self._delivery.watch(camera.name for camera in fresh.camera)
            self._settings = self._settings.model_copy(update={"camera": fresh.camera})
        log.info("settings were read again", extra={"cameras": len(fresh.camera)})
        if later:
            log.warning("changes of these take effect at the next start only: %s", ", ".join(later))

    def _status(self) -> str:
        """One line on what is watched and what is amiss."""
        cameras, amiss = self._line.states(), self._problems()
        return "; ".join((f"watching {len(cameras)} camera{'' if len(cameras) == 1 else 's'}", *amiss))

    def _problems(self) -> list[str]:
        """What is amiss with cameras and delivery, a sentence each."""
        states = self._line.states() if self._ready.is_set() else {}
        cameras = [
            f"camera {name} is {state}" for name, state in states.items() if state in UNOBSERVED_STATES
        ]
        return cameras + self._delivery.problems()

    def _start_loop(self, name: str, run: Callable[[], None]) -> threading.Thread:
        """A started thread whose failure ends the daemon: one that silently stopped looking is worse."""

        def guarded() -> None:
            try:
                run()
            except Exception as error:
                log.exception("a loop failed", extra={"loop": name})
                self._failure = error

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def _health(self) -> HealthReport:
        """Alive: no loop has failed or got stuck."""
        now = time.monotonic()
        stuck = [
            name for name, progressed_at in self._progress().items() if now - progressed_at > STUCK_AFTER
        ]
        return HealthReport(not stuck and self._failure is None, {"stuck": stuck})

    def _progress(self) -> Mapping[str, float]:
        """When each loop last gave a sign of life, on the monotonic clock; nothing until all run."""
        if not self._ready.is_set():
            return {}
        return {
            "judge": self._judge.progressed_at,
            "report": self._reporter.progressed_at,
            **self._line.progress(),
        }

    def _readiness(self) -> HealthReport:
        """Ready: model and cameras were tried. What is amiss with cameras and Redis is said beside."""
        cameras = dict(self._line.states()) if self._ready.is_set() else {}
        return HealthReport(self._ready.is_set(), {"cameras": cameras, "degraded": self._problems()})
