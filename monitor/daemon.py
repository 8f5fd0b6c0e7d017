"""A running daemon: starts its parts, passes on what they say, ends them in order."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from prometheus_client import CollectorRegistry, disable_created_metrics

from monitor import __version__, assembly
from monitor.capture.camera import Camera
from monitor.classify.bundle import load_bundle
from monitor.errors import DeliveryError, MonitorError
from monitor.measure.http import Health, HttpServer, serve
from monitor.measure.metrics import Metrics
from monitor.models import shipped_model
from monitor.pipeline.judge import Flagged, Judge
from monitor.pipeline.report import Reporter
from monitor.publish import document
from monitor.publish.outbox import Outbox
from monitor.publish.parcel import Item, Notice, Parcel
from monitor.publish.store import Kind
from monitor.records import CameraChange, Finding, Gap
from monitor.settings import CameraSettings, Settings

log = logging.getLogger(__name__)

STUCK = 60.0
"""Seconds without a sign of life after which a loop counts as stuck; a batch takes a fraction of one."""

_INCIDENTS = "incidents"
"""The name under which the outbox keeps the state of incidents."""

_CAMERAS_END, _JUDGE, _EXPLAIN, _DELIVER = 1.5, 1.0, 1.5, 2.0
"""Seconds that each part of a stop may take, explaining twice: below 10 together."""


class Daemon:
    """Everything between the cameras and Redis, for one file of settings.

    Making one reads the model and takes the port, so that a mistake is said before anything runs.
    Raises MonitorError.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._broken: list[str] = []
        self._changes: dict[str, CameraChange] = {}
        self._ready = threading.Event()
        self._redis_trouble: str | None = None
        self._shed: Counter[Kind] = Counter()
        self._bundle = load_bundle(shipped_model(settings.model.path))
        self._label = self._bundle.card.classes[self._bundle.card.defect_class]
        # A second series for each metric, which no dashboard asks for. (The function has no annotations.)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._metrics = Metrics(
            self.registry,
            cameras=[camera.name for camera in settings.camera],
            labels=[self._label],
        )
        self._metrics.build(__version__)
        self._sink = assembly.sink(settings)
        self._refuse_what_waiting_cannot_mend()
        self._store = assembly.store(settings)
        self._incidents = assembly.incidents(settings, self._store.shelf.note(_INCIDENTS))
        self._incidents_lock = (
            threading.Lock()
        )  # frames come in the report loop, ends by time in the main one
        self._http: HttpServer = serve(
            settings.metrics.host,
            settings.metrics.port,
            registry=self.registry,
            health=self._health,
            ready=self._readiness,
        )
        self.port = self._http.port

    def stop(self) -> None:
        """Ask `run` to end: it finishes what is flagged and returns. Callable from a signal handler."""
        self._stopping.set()

    def wait_until_ready(self, timeout: float) -> bool:
        """Whether every part runs, within `timeout` seconds."""
        return self._ready.wait(timeout)

    def run(self) -> None:
        """Watch the cameras until they end or `stop` is called.

        Raises MonitorError where a part fails for good or something flagged could not be delivered.
        """
        try:
            self._outbox = Outbox(
                self._sink,
                store=self._store,
                max_age=self._settings.outbox.max_age,
                on_state=self._redis_changed,
                on_delivered=self._delivered,
            )
            wanted, card = self._settings, self._bundle.card
            device = assembly.device(wanted)
            self._metrics.model(
                name=card.name,
                sha256=card.model.sha256,
                device=device.description,
                precision=device.precision,
            )
            classifier = assembly.classifier(wanted, self._bundle, device)
            self._reporter = Reporter(
                assembly.explaining(wanted, card, classifier.explain),
                self._publish,
                self._metrics,
                waiting=wanted.explain.queue,
            )
            self._cameras = [self._make_camera(camera) for camera in wanted.camera]
            self._judge = Judge(
                self._cameras,
                assembly.judgement(wanted, self._bundle, classifier.classify),
                views={camera.name: assembly.views(camera) for camera in wanted.camera},
                pass_on=self._reporter.put,
                report=self._happened,
                observer=self._metrics,
            )
            self._watch()
        finally:
            self._http.close()
            self._store.shelf.close()
        if self._failure is not None:
            raise self._failure

    def _watch(self) -> None:
        """Run the loops until the cameras end, a stop is asked for, or a loop fails; then end in order."""
        judging = self._thread("judge", self._judge.run)
        reporting = self._thread("report", self._reporter.run)
        for camera in self._cameras:
            camera.start()
        self._ready.set()
        log.info("watching", extra={"cameras": len(self._cameras), "metrics": f"port {self.port}"})
        while not self._stopping.wait(0.1) and judging.is_alive() and self._failure is None:
            self._measure_outbox()
            with self._incidents_lock:
                self._incidents.expire(datetime.now(UTC))
                self._tell_incidents()
        self._ready.clear()
        if self._broken and self._failure is None and not self._stopping.is_set():
            self._failure = MonitorError("; ".join(self._broken))
        log.info("stopping")
        for camera in self._cameras:
            camera.stop(_CAMERAS_END / len(self._cameras))
        judging.join(_JUDGE)
        if judging.is_alive():  # perhaps held back by a full queue of flagged frames
            self._reporter.hurry()
            judging.join(_JUDGE)
        self._reporter.close()
        while reporting.is_alive() and not self._stopping.is_set():  # the input has ended: there is time
            reporting.join(0.1)
        reporting.join(_EXPLAIN)
        self._reporter.hurry()
        reporting.join(_EXPLAIN)
        if self._failure is None and (judging.is_alive() or reporting.is_alive()):
            self._failure = MonitorError("a loop did not finish in time: flagged frames may be lost")
        if not self._outbox.stats().durable:  # no later run will know of them
            with self._incidents_lock:
                self._incidents.end_all()
                self._tell_incidents()
        self._outbox.drain(_DELIVER)
        durable = self._outbox.stats().durable
        left = self._outbox.close()
        if left and durable:
            log.warning(
                "%d events or notices wait in %s and go out after the next start: %s",
                *(left, assembly.outbox_path(self._settings), self._redis_trouble or "out of time"),
            )
        elif left and self._failure is None:
            self._failure = DeliveryError(
                f"{left} events or notices were not delivered: {self._redis_trouble or 'out of time'}"
            )

    def _measure_outbox(self) -> None:
        waiting = self._outbox.stats()
        self._metrics.outbox(waiting.events, waiting.bytes, waiting.oldest_seconds)
        self._metrics.outbox_durable(waiting.durable)
        shed: dict[Kind, int] = {
            "pictures": waiting.shed_pictures,
            "events": waiting.shed_events,
            "notices": waiting.shed_notices,
        }
        for kind, count in shed.items():
            self._metrics.outbox_shed(kind, count - self._shed[kind])
        self._shed = Counter(shed)

    def _thread(self, name: str, run: Callable[[], None]) -> threading.Thread:
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

    def _tell_incidents(self) -> None:
        """Publish starts and ends, each in one step with the state that has it told."""
        while (report := self._incidents.next_report()) is not None:
            self._outbox.put(report.notice(), notes={_INCIDENTS: self._incidents.state()})
            log.info(
                "incident",
                extra={
                    "phase": report.phase,
                    "incident": report.id,
                    "camera": report.camera,
                    "frames": report.events,
                },
            )

    def _make_camera(self, camera: CameraSettings) -> Camera:
        return assembly.camera(
            camera,
            report=self._happened,
            on_frame=lambda: self._judge.wake(),  # noqa: PLW0108 (the judge is made after the cameras)
            on_read=partial(self._metrics.stage, camera.name, "capture"),
        )

    def _refuse_what_waiting_cannot_mend(self) -> None:
        """A Redis that is away may come back; a wrong password at the start is a mistake to mend now."""
        try:
            self._sink.check()
        except DeliveryError as error:
            if error.permanent:
                raise
            log.warning("starting without Redis", extra={"why": str(error)})

    def _publish(self, finding: Finding, flagged: Flagged, jpeg: bytes, raw: bytes | None) -> None:
        novelty = flagged.novelty
        event = document.build_event(
            finding,
            model_name=self._bundle.card.name,
            model_sha256=self._bundle.card.model.sha256,
            keys=self._sink.keys,
            familiarity=None
            if novelty is None
            else document.Familiarity(
                distance=round(novelty.distance, 4), limit=novelty.limit, unfamiliar=novelty.unfamiliar
            ),
        )
        captured = finding.frame.monotonic
        with self._incidents_lock:
            event = event.model_copy(update={"incident": self._incidents.observe(event)})
            parcel = Parcel.of(event, jpeg, raw, ready_after=time.monotonic() - captured)
            self._outbox.put(parcel, began=captured, notes={_INCIDENTS: self._incidents.state()})
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

    def _delivered(self, item: Item, seconds: float) -> None:
        if isinstance(item, Parcel):
            self._metrics.stage(item.camera, "publish", max(0.0, seconds - item.ready_after))
            self._metrics.event(item.camera, self._label, seconds)

    def _happened(self, happened: Gap | CameraChange) -> None:
        """Count and publish what was not inspected, and cameras' changes of state."""
        if isinstance(happened, CameraChange):
            self._camera_changed(happened)
        elif happened.cause in ("unreadable", "unusable"):
            for _ in range(happened.frames):
                self._metrics.frame(happened.camera, "unusable")
            log.warning(
                "frames could not be judged",
                extra={"camera": happened.camera, "frames": happened.frames, "why": happened.detail},
            )
        else:
            self._metrics.dropped(happened.camera, happened.cause, happened.frames)
            log.warning(
                "frames were not inspected",
                extra={"camera": happened.camera, "frames": happened.frames, "cause": happened.cause},
            )
        self._outbox.put(Notice.of(happened))

    def _camera_changed(self, change: CameraChange) -> None:
        before = self._changes.get(change.camera)
        if change.state == "ended" and before is not None and before.state == "down":
            self._broken.append(f"camera {change.camera}: {before.detail}")
        self._changes[change.camera] = change
        self._metrics.camera_up(change.camera, change.state == "up")
        if change.state == "down" and change.cause is not None:
            self._metrics.reconnect(change.camera, change.cause)
        level = logging.WARNING if change.state == "down" else logging.INFO
        log.log(
            level,
            "camera is %s",
            change.state,
            extra={"camera": change.camera, "cause": change.cause, "why": change.detail},
        )

    def _redis_changed(self, up: bool, why: str | None) -> None:
        self._redis_trouble = why
        self._metrics.redis_up(up)

    def _health(self) -> Health:
        """Alive: no loop has failed or got stuck."""
        now = time.monotonic()
        stuck = []
        if self._ready.is_set():
            loops: Mapping[str, float] = {
                "judge": self._judge.progressed_at,
                "report": self._reporter.progressed_at,
            }
            stuck = [name for name, progressed_at in loops.items() if now - progressed_at > STUCK]
        return Health(not stuck and self._failure is None, {"stuck": stuck})

    def _readiness(self) -> Health:
        """Ready: model and cameras were tried. What is amiss with cameras and Redis is said beside."""
        cameras = {name: change.state for name, change in self._changes.items()}
        degraded = [f"camera {name} is {state}" for name, state in cameras.items() if state == "down"]
        if self._redis_trouble:
            degraded.append(self._redis_trouble)
        if trouble := self._store.shelf.trouble():
            degraded.append(trouble)
        return Health(self._ready.is_set(), {"cameras": cameras, "degraded": degraded})
