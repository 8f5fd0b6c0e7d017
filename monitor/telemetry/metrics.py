"""Every metric of the daemon, in one registry that is handed in."""

import threading
from collections.abc import Iterable
from typing import Literal, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from monitor.records import CameraState, ExplanationOutcome, FailureCause, FrameOutcome, Stage

LATENCY_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 2.0, 3.0, 5.0, 10.0),
)
"""Bucket borders, densest around the frame periods of 120 to 5 frames a second."""


SCORE_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Bucket borders for scores, dense at both ends, where a good network's scores lie and drift shows."""


NOVELTY_BUCKETS = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Bucket borders for novelty, dense below the limit, where a drift shows first."""


DROPS = ("overload", "late")
"""Why frames that were captured are not looked at."""


REOPENINGS = get_args(FailureCause)
"""Why a camera is opened anew."""


_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)


class Metrics:
    """The daemon's metrics, registered in `registry` (one of these per registry).

    Label values of the `cameras` and `labels` (class names) are there from the start, so that a rate over a
    counter sees its first step and a dashboard shows a zero instead of a hole. Only cameras that are watched
    have series: a name that is not, or no longer, is not counted, so that the series stay bounded.
    """

    def __init__(
        self, registry: CollectorRegistry, *, cameras: Iterable[str] = (), labels: Iterable[str] = ()
    ) -> None:
        def counter(name: str, help_text: str, *by: str) -> Counter:
            return Counter(name, help_text, by, namespace="defect_monitor", registry=registry)

        def gauge(name: str, help_text: str, *by: str) -> Gauge:
            return Gauge(name, help_text, by, namespace="defect_monitor", registry=registry)

        def histogram(name: str, help_text: str, buckets: tuple[float, ...], *by: str) -> Histogram:
            return Histogram(
                name, help_text, by, namespace="defect_monitor", registry=registry, buckets=buckets
            )

        def info(name: str, help_text: str) -> Info:
            return Info(name, help_text, namespace="defect_monitor", registry=registry)

        self._stage = histogram(
            "stage_seconds", "Time a frame spent in one stage.", LATENCY_BUCKETS, "camera", "stage"
        )
        self._verdict = histogram(
            "verdict_seconds", "From capture to the verdict.", LATENCY_BUCKETS, "camera"
        )
        self._event = histogram(
            "event_seconds",
            "From capture to the event's acknowledgement by Redis.",
            LATENCY_BUCKETS,
            "camera",
        )
        self._frames = counter(
            "frames_total", "Frames captured, by what became of them.", "camera", "outcome"
        )
        self._dropped = counter(
            "dropped_frames_total", "Frames nobody looked at, by cause.", "camera", "cause"
        )
        self._events = counter("events_total", "Events acknowledged by Redis, by label.", "camera", "label")
        self._explanations = counter(
            "explanations_total",
            "Flagged frames, by how much of the explanation was computed.",
            *("camera", "outcome"),
        )
        self._score = histogram("score", "Defect scores of all judged frames.", SCORE_BUCKETS, "camera")
        self._novelty = histogram(
            "novelty_ratio",
            "Distance of judged frames from the training data, 1 at the model's limit.",
            NOVELTY_BUCKETS,
            "camera",
        )
        self._unfamiliar = counter(
            "unfamiliar_frames_total", "Judged frames beyond the model's limit of novelty.", "camera"
        )
        self._camera_up = gauge("camera_up", "1 while the camera delivers frames, otherwise 0.", "camera")
        self._camera_state = gauge("camera_state", "1 for the state the camera is in.", "camera", "state")
        self._clash = gauge(
            "camera_name_clash",
            "1 while another daemon watches a camera of this name, otherwise 0.",
            "camera",
        )
        self._reconnects = counter(
            "camera_reconnects_total", "Times a camera was opened anew, by cause.", "camera", "cause"
        )
        self._last_frame = gauge(
            "last_frame_timestamp_seconds", "Unix time of the camera's latest frame.", "camera"
        )
        self._redis_up = gauge("redis_up", "1 while Redis acknowledges, otherwise 0.")
        self._outbox_events = gauge("outbox_events", "Events waiting for Redis.")
        self._outbox_bytes = gauge("outbox_bytes", "Size of what waits for Redis.")
        self._outbox_oldest = gauge("outbox_oldest_seconds", "Age of the oldest event waiting for Redis.")
        self._outbox_durable = gauge(
            "outbox_durable", "1 while all that waits for Redis outlives a crash of the daemon."
        )
        self._outbox_shed = counter("outbox_shed_total", "Given up by the outbox, by kind.", "kind")
        self._outbox_set_aside = counter(
            "outbox_set_aside_total", "Messages set aside because the sink never takes them.", "sink"
        )
        self._pictures_withheld = counter(
            "pictures_withheld_total", "Events that went to Redis without their pictures, by cause.", "cause"
        )
        self._pictures_removed = counter(
            "pictures_removed_total", "Pictures removed from Redis to make room for newer ones."
        )
        self._picture_bytes = gauge("redis_picture_bytes", "Bytes of the pictures kept in Redis.")
        self._model = info("model", "The network that judges.")
        self._build = info("build", "The running program.")

        ProcessCollector(registry=registry)  # process_*: start time, processor, memory, open files

        self._by_camera: tuple[Counter | Gauge | Histogram, ...] = (
            *(self._stage, self._verdict, self._event, self._frames, self._dropped, self._events),
            *(self._explanations, self._score, self._novelty, self._unfamiliar),
            *(self._camera_up, self._camera_state, self._clash, self._reconnects, self._last_frame),
        )
        for kind in ("pictures", "events", "notices"):
            self._outbox_shed.labels(kind)
        self._outbox_set_aside.labels("redis")
        for cause in ("redis-full", "too-large"):
            self._pictures_withheld.labels(cause)
        self._labels = tuple(labels)
        self._watched: set[str] = set()
        self._lock = threading.Lock()  # between the look at `_watched` and the making of a series
        for camera in cameras:
            self.watch(camera)

    def watch(self, camera: str) -> None:
        """Measure `camera` from now on, all its counts at zero; nothing happens if it is watched already."""
        with self._lock:
            if camera not in self._watched:
                self._watched.add(camera)
                self._create_series(camera)

    def remove_camera(self, camera: str) -> None:
        """Take away every series of `camera`; what still comes of it is not counted."""
        with self._lock:
            self._watched.discard(camera)
            for metric in self._by_camera:
                metric.remove_by_labels({"camera": camera})

    def _series(self, metric: _Metric, camera: str, *values: str) -> _Metric | None:
        """The series of a camera that is watched."""
        with self._lock:
            return metric.labels(camera, *values) if camera in self._watched else None

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
        """A frame of `camera` spent `seconds` in `stage`."""
        self._observe(self._stage, seconds, camera, stage)

    def on_verdict(self, camera: str, score: float, seconds: float) -> None:
        """A frame was judged: its defect score, 0..1, `seconds` after its capture."""
        self._observe(self._score, score, camera)
        self._observe(self._verdict, seconds, camera)

    def event(self, camera: str, label: str, seconds: float) -> None:
        """Redis acknowledged an event, `seconds` after its frame's capture."""
        self._count(self._events, camera, label)
        self._observe(self._event, seconds, camera)

    def on_frame(self, camera: str, timestamp: float) -> None:
        """A frame came from `camera` at Unix time `timestamp`."""
        self._set(self._last_frame, camera, timestamp)

    def on_outcome(self, camera: str, outcome: FrameOutcome) -> None:
        """A frame was taken up, with this outcome."""
        self._count(self._frames, camera, outcome)

    def dropped(self, camera: str, cause: str, frames: int) -> None:
        """So many frames were captured but never looked at: counted as frames too, as `dropped`."""
        self._count(self._dropped, camera, cause, by=frames)
        self._count(self._frames, camera, "dropped", by=frames)

    def on_novelty(self, camera: str, distance: float, limit: float) -> None:
        """A judged frame lies `distance` from the training data; beyond `limit` it is unfamiliar."""
        self._observe(self._novelty, distance / limit, camera)
        if distance > limit:
            self._count(self._unfamiliar, camera)

    def on_explanation(self, camera: str, outcome: ExplanationOutcome) -> None:
        """A flagged frame was explained, or was not."""
        self._count(self._explanations, camera, outcome)

    def unusable(self, camera: str, frames: int) -> None:
        """So many frames came that show nothing that could be judged."""
        self._count(self._frames, camera, "unusable", by=frames)

    def camera_state(self, camera: str, state: CameraState) -> None:
        """`camera` is in this state now; it delivers frames while it is `up`."""
        self._set(self._camera_up, camera, state == "up")
        for name in get_args(CameraState):
            if (series := self._series(self._camera_state, camera, name)) is not None:
                series.set(name == state)

    def name_conflict(self, camera: str, clash: bool) -> None:
        """Whether another daemon watches a camera of this name."""
        self._set(self._clash, camera, clash)

    def reconnect(self, camera: str, cause: str) -> None:
        """`camera` is opened anew, because of `cause`."""
        self._count(self._reconnects, camera, cause)

    def redis_up(self, up: bool) -> None:
        """Whether Redis acknowledges what is sent."""
        self._redis_up.set(up)

    def outbox(self, events: int, size: int, oldest: float) -> None:
        """What waits for Redis: events, bytes, and the oldest one's age in seconds (0 if nothing waits)."""
        self._outbox_events.set(events)
        self._outbox_bytes.set(size)
        self._outbox_oldest.set(oldest)

    def outbox_durable(self, durable: bool) -> None:
        """Whether all that waits for Redis outlives a crash of the daemon."""
        self._outbox_durable.set(durable)

    def outbox_dropped(self, kind: Literal["pictures", "events", "notices"], count: int) -> None:
        """The outbox gave up so many more of this kind."""
        self._outbox_shed.labels(kind).inc(count)

    def outbox_set_aside(self, sink: str, count: int = 1) -> None:
        """Count messages that were set aside because a sink never takes them."""
        self._outbox_set_aside.labels(sink).inc(count)

    def picture_bytes(self, stored: int) -> None:
        """Set how many bytes the images in Redis take."""
        self._picture_bytes.set(stored)

    def pictures_removed(self, count: int) -> None:
        """So many more pictures made room in Redis for newer ones."""
        self._pictures_removed.inc(count)

    def images_stripped(self, cause: str, count: int) -> None:
        """So many more events went to Redis without their pictures."""
        self._pictures_withheld.labels(cause).inc(count)

    def model(self, *, name: str, sha256: str, device: str, precision: str) -> None:
        """Which network judges, and on what."""
        self._model.info({"name": name, "sha256": sha256, "device": device, "precision": precision})

    def build(self, version: str) -> None:
        """Which version of this program runs."""
        self._build.info({"version": version})
