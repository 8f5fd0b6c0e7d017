"""Metrics of known frames that the daemon inspected as a test."""

from prometheus_client import CollectorRegistry, Counter


class ChallengeMetrics:
    """Counts challenges in `registry`; `frames_total` does not hold them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._frames = Counter(
            "challenge_frames_total",
            "Known frames shown to the daemon as a test, by outcome; no frame of the production.",
            ("camera", "outcome"),
            namespace="defect_monitor",
            registry=registry,
        )

    def inspected(self, camera: str, outcome: str) -> None:
        """Count a frame by its outcome: `defect`, `clean` or `not-inspected`."""
        self._frames.labels(camera, outcome).inc()
