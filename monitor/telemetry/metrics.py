"""Define and record the Prometheus metrics of the daemon."""

import math
import threading
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal, TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from monitor.records import CameraState, ExplanationOutcome, FailureCause, FrameOutcome, Stage
from monitor.telemetry.histograms import LATENCY_BUCKETS, NOVELTY_BUCKETS, SCORE_BUCKETS

DROPS = ("overload", "late")
"""Causes of dropped frames whose series exist from the start."""

REOPENINGS = get_args(FailureCause)
"""Causes for which a camera is reopened."""

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)


def create_registry() -> CollectorRegistry:
    """Create an empty registry, without the creation time of each series, which nothing reads."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry()


class Metrics:
    """Measure the daemon, in the Prometheus registry `registry`, which serves one daemon.

    The series of all `cameras` and `labels` (class names) exist from the start, so that a rate sees the first
    step of a counter and a dashboard shows zero instead of a gap. Other cameras have no series until
    `add_camera`: calls that name them are ignored, so that the number of series stays bounded.
    """

    def __init__(
        self, registry: CollectorRegistry, *, cameras: Iterable[str] = (), labels: Iterable[str] = ()
    ) -> None:
        self.registry = registry

        def create(kind: type[_Metric], name: str, help_text: str, *by: str, **options: Any) -> _Metric:
            return kind(name, help_text, by, namespace="defect_monitor", registry=registry, **options)

        counter, gauge = partial(create, Counter), partial(create, Gauge)

        def histogram(name: str, help_text: str, buckets: tuple[float, ...], *by: str) -> Histogram:
            return create(Histogram, name, help_text, *by, buckets=buckets)

        self._stage = histogram(
            "stage_seconds", "Time a frame spent in one stage.", LATENCY_BUCKETS, "camera", "stage"
        )
        self._verdict = histogram("verdict_seconds", "From capture to verdict.", LATENCY_BUCKETS, "camera")
        self._late_verdicts = counter(
            "late_verdicts_total", "Verdicts that took longer than the camera's frame period.", "camera"
        )
        self._event = histogram(
            "event_seconds", "From capture to Redis' acknowledgement of the event.", LATENCY_BUCKETS, "camera"
        )
        self._frames = counter("frames_total", "Frames captured, by outcome.", "camera", "outcome")
        self._dropped = counter(
            "dropped_frames_total", "Frames that were not inspected, by cause.", "camera", "cause"
        )
        self._events = counter("events_total", "Events acknowledged by Redis, by label.", "camera", "label")
        self._explanations = counter(
            "explanations_total",
            "Flagged frames, by how much of the explanation was computed.",
            *("camera", "outcome"),
        )
        self._score = histogram("score", "Defect scores of all classified frames.", SCORE_BUCKETS, "camera")
        self._novelty = histogram(
            "novelty_ratio",
            "Distance of classified frames from the training data; 1 is the model's limit.",
            NOVELTY_BUCKETS,
            "camera",
        )
        self._unfamiliar = counter(
            "unfamiliar_frames_total", "Classified frames beyond the model's novelty limit.", "camera"
        )
        self._camera_up = gauge("camera_up", "1 while the camera delivers frames, otherwise 0.", "camera")
        self._camera_state = gauge("camera_state", "1 for the state the camera is in.", "camera", "state")
        self._clash = gauge(
            "camera_name_clash", "1 while another daemon inspects a camera of this name, else 0.", "camera"
        )
        self._reconnects = counter(
            "camera_reconnects_total", "Times that a camera was reopened, by cause.", "camera", "cause"
        )
        self._last_frame = gauge(
            "last_frame_timestamp_seconds", "Unix time of capture of the camera's latest frame.", "camera"
        )
        self._redis_up = gauge("redis_up", "1 while Redis acknowledges, otherwise 0; NaN until it is known.")
        self._redis_up.set(math.nan)  # zero would raise an alert while the model loads
        self._outbox_events = gauge("outbox_events", "Events in the outbox.")
        self._outbox_bytes = gauge("outbox_bytes", "Size of the outbox.")
        self._outbox_oldest = gauge("outbox_oldest_seconds", "Age of the oldest event in the outbox.")
        self._outbox_durable = gauge(
            "outbox_durable", "1 while the outbox survives a crash of the daemon, otherwise 0."
        )
        self._outbox_shed = counter("outbox_shed_total", "What the outbox dropped, by kind.", "kind")
        self._outbox_set_aside = counter(
            "outbox_set_aside_total", "Messages set aside because the sink rejects them permanently.", "sink"
        )
        self._images_withheld = counter(
            "pictures_withheld_total", "Events delivered without their images, by cause.", "cause"
        )
        self._images_removed = counter(
            "pictures_removed_total", "Images removed from Redis to make room for newer ones."
        )
        self._image_bytes = gauge("redis_picture_bytes", "Size of the images in Redis.")
        self._models = gauge("model_info", "The models in use.", "name", "sha256", "device", "precision")
        self._build = Info("build", "The running program.", namespace="defect_monitor", registry=registry)

        ProcessCollector(registry=registry)  # process_*: start time, processor, memory, open files

        self._by_camera: tuple[Counter | Gauge | Histogram, ...] = (
            *(self._stage, self._verdict, self._event, self._frames, self._dropped, self._events),
            *(self._explanations, self._score, self._novelty, self._unfamiliar, self._late_verdicts),
            *(self._camera_up, self._camera_state, self._clash, self._reconnects, self._last_frame),
        )
        for kind in ("pictures", "events", "notices", "verdicts"):
            self._outbox_shed.labels(kind)
        self._outbox_set_aside.labels("redis")
        for cause in ("redis-full", "too-large"):
            self._images_withheld.labels(cause)
        self._labels = set(labels)
        self._cameras: set[str] = set()
        self._lock = threading.Lock()  # no series is created for a camera that is being removed
        for camera in cameras:
            self.add_camera(camera)

    def add_camera(self, camera: str) -> None:
        """Measure `camera` from now on, with all counters at zero; ignored if it is measured already."""
        with self._lock:
            if camera not in self._cameras:
                self._cameras.add(camera)
                self._create_series(camera)

    def add_labels(self, labels: Iterable[str]) -> None:
        """Count events of these labels (class names) from zero, for cameras that are added from now on."""
        with self._lock:
            self._labels |= set(labels)

    def remove_camera(self, camera: str) -> None:
        """Remove every series of `camera`; later calls that name it are ignored."""
        with self._lock:
            self._cameras.discard(camera)
            for metric in self._by_camera:
                metric.remove_by_labels({"camera": camera})

    def _series(self, metric: _Metric, camera: str, *values: str) -> _Metric | None:
        with self._lock:
            return metric.labels(camera, *values) if camera in self._cameras else None

    def _count(self, metric: Counter, camera: str, *values: str, by: int = 1) -> None:
        if (series := self._series(metric, camera, *values)) is not None:
            series.inc(by)

    def _set(self, metric: Gauge, camera: str, value: float) -> None:
        if (series := self._series(metric, camera)) is not None:
            series.set(value)

    def _observe(self, metric: Histogram, value: float, camera: str, *values: str) -> None:
        if (series := self._series(metric, camera, *values)) is not None:
            series.observe(value)

    def _create_series(self, camera: str) -> None:
        self._unfamiliar.labels(camera)
        self._late_verdicts.labels(camera)
        for histogram in (self._verdict, self._event, self._score, self._novelty):
            histogram.labels(camera)
        for stage in get_args(Stage):
            self._stage.labels(camera, stage)
        for outcome in (*get_args(FrameOutcome), "dropped"):
            self._frames.labels(camera, outcome)
        for label in self._labels:
            self._events.labels(camera, label)
        for outcome in get_args(ExplanationOutcome):
            self._explanations.labels(camera, outcome)
        for cause in DROPS:
            self._dropped.labels(camera, cause)
        for cause in REOPENINGS:
            self._reconnects.labels(camera, cause)
        self._camera_up.labels(camera)
        for state in get_args(CameraState):
            self._camera_state.labels(camera, state)
        self._clash.labels(camera)

    def on_stage(self, camera: str, stage: Stage, seconds: float) -> None:
        """Record that a frame of `camera` spent `seconds` in `stage`."""
        self._observe(self._stage, seconds, camera, stage)

    def on_verdict(self, camera: str, score: float, seconds: float) -> None:
        """Record a verdict: the defect score, 0..1, and `seconds` from capture to verdict."""
        self._observe(self._score, score, camera)
        self._observe(self._verdict, seconds, camera)

    def on_late_verdict(self, camera: str) -> None:
        """Count a verdict that took longer than the camera's frame period."""
        self._count(self._late_verdicts, camera)

    def event(self, camera: str, label: str, seconds: float) -> None:
        """Record an acknowledged event and the `seconds` from its frame's capture."""
        self._count(self._events, camera, label)
        self._observe(self._event, seconds, camera)

    def on_frame(self, camera: str, timestamp: float) -> None:
        """Record that `camera` captured a frame at Unix time `timestamp`."""
        self._set(self._last_frame, camera, timestamp)

    def on_outcome(self, camera: str, outcome: FrameOutcome) -> None:
        """Count a frame by its outcome."""
        self._count(self._frames, camera, outcome)

    def dropped(self, camera: str, cause: str, frames: int) -> None:
        """Count frames that were captured and not inspected; their outcome is `dropped`."""
        self._count(self._dropped, camera, cause, by=frames)
        self._count(self._frames, camera, "dropped", by=frames)

    def on_novelty(self, camera: str, distance: float, limit: float) -> None:
        """Record the distance of a frame from the training data; beyond `limit` it is unfamiliar."""
        self._observe(self._novelty, distance / limit, camera)
        if distance > limit:
            self._count(self._unfamiliar, camera)

    def on_explanation(self, camera: str, outcome: ExplanationOutcome) -> None:
        """Count a flagged frame by the outcome of its explanation."""
        self._count(self._explanations, camera, outcome)

    def unusable(self, camera: str, frames: int) -> None:
        """Count frames that arrived but cannot be classified."""
        self._count(self._frames, camera, "unusable", by=frames)

    def camera_state(self, camera: str, state: CameraState) -> None:
        """Record the present state of `camera`; it delivers frames while it is `up`."""
        self._set(self._camera_up, camera, state == "up")
        for name in get_args(CameraState):
            if (series := self._series(self._camera_state, camera, name)) is not None:
                series.set(name == state)

    def name_conflict(self, camera: str, clash: bool) -> None:
        """Record whether another daemon inspects a camera of this name."""
        self._set(self._clash, camera, clash)

    def reconnect(self, camera: str, cause: str) -> None:
        """Count that `camera` is reopened because of `cause`."""
        self._count(self._reconnects, camera, cause)

    def redis_up(self, up: bool) -> None:
        """Record whether Redis acknowledges deliveries."""
        self._redis_up.set(up)

    def outbox(self, events: int, size: int, oldest: float) -> None:
        """Record the outbox: events, bytes, and the age of the oldest in seconds (0 when it is empty)."""
        self._outbox_events.set(events)
        self._outbox_bytes.set(size)
        self._outbox_oldest.set(oldest)

    def outbox_durable(self, durable: bool) -> None:
        """Record whether the outbox survives a crash of the daemon."""
        self._outbox_durable.set(durable)

    def outbox_dropped(self, kind: Literal["pictures", "events", "notices", "verdicts"], count: int) -> None:
        """Count entries that the outbox dropped."""
        self._outbox_shed.labels(kind).inc(count)

    def outbox_set_aside(self, sink: str, count: int = 1) -> None:
        """Count messages that were set aside because a sink rejects them permanently."""
        self._outbox_set_aside.labels(sink).inc(count)

    def picture_bytes(self, stored: int) -> None:
        """Record how many bytes the images in Redis take."""
        self._image_bytes.set(stored)

    def pictures_removed(self, count: int) -> None:
        """Count images that were removed from Redis to make room for newer ones."""
        self._images_removed.inc(count)

    def images_stripped(self, cause: str, count: int) -> None:
        """Count events that were delivered without their images."""
        self._images_withheld.labels(cause).inc(count)

    def models(self, models: Iterable[tuple[str, str, str, str]]) -> None:
        """Record the models in use: name, SHA-256, device and precision of each."""
        self._models.clear()
        for model in models:
            self._models.labels(*model).set(1)

    def build(self, version: str) -> None:
        """Record the version of the running program."""
        self._build.info({"version": version})
