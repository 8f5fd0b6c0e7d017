"""Metrics of the frames that are kept for learning."""

from prometheus_client import CollectorRegistry, Counter


class SampleMetrics:
    """Counts samples in `registry`. A daemon that keeps none has no such series."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str, *by: str) -> Counter:
            return Counter(name, help_text, by, namespace="defect_monitor", registry=registry)

        self._kept = counter("samples_total", "Frames kept for learning, by reason.", "camera", "reason")
        self._skipped = counter(
            "skipped_samples_total",
            "Frames that were worth keeping for learning and are not kept, by cause.",
            *("camera", "cause"),
        )
        self._shadow = counter(
            "shadow_frames_total",
            "Frames of cameras with a shadow model: the same verdict, another one, or not classified by it.",
            *("camera", "outcome"),
        )

    def kept(self, camera: str, reason: str) -> None:
        """Count a frame that is kept."""
        self._kept.labels(camera, reason).inc()

    def skipped(self, camera: str, cause: str) -> None:
        """Count a frame that was worth keeping and is not kept."""
        self._skipped.labels(camera, cause).inc()

    def on_shadow(self, camera: str, outcome: str) -> None:
        """Count a frame of a camera with a shadow model."""
        self._shadow.labels(camera, outcome).inc()
