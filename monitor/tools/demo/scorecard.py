"""Score the demo: compare the events from Redis with the simulated defects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from monitor.events.event import Event, EventRegion
from monitor.imaging.ellipse import Ellipse
from monitor.telemetry.metrics import Metrics


class LatencyRecorder(Metrics):
    """Metrics that also store each latency, so that quantiles are exact."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.verdict_seconds: list[float] = []
        self.event_seconds: list[float] = []

    def on_verdict(self, camera: str, score: float, seconds: float) -> None:
        """Record a verdict and store its latency."""
        super().on_verdict(camera, score, seconds)
        self.verdict_seconds.append(seconds)

    def event(self, camera: str, label: str, seconds: float) -> None:
        """Record an acknowledged event and store its latency."""
        super().event(camera, label, seconds)
        self.event_seconds.append(seconds)


def median_and_p99(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, each one of the values; NaN without any."""
    if not seconds:
        return math.nan, math.nan
    median, high = np.quantile(seconds, (0.5, 0.99), method="inverted_cdf")
    return float(median), float(high)


@dataclass(frozen=True, slots=True)
class ScoredEvent:
    """An event from Redis: `hit` if a box lies on a defect; `elsewhere` counts the other boxes."""

    event: Event
    hit: bool
    elsewhere: int


@dataclass(slots=True)
class Scorecard:
    """The result of a demo. Latencies are median and 99th percentile in seconds, NaN if there was none."""

    frames: int = 0
    not_inspected: int = 0
    defects: int = 0
    defects_not_inspected: int = 0
    seen: list[ScoredEvent] = field(default_factory=list)
    missed: int = 0
    verdict: tuple[float, float] = (math.nan, math.nan)
    event: tuple[float, float] = (math.nan, math.nan)
    pictures: list[Path] = field(default_factory=list)

    @property
    def hits(self) -> int:
        """Flagged frames with a box on the defect."""
        return sum(seen.hit for seen in self.seen)

    @property
    def without_box(self) -> int:
        """Flagged frames without a box, for example if the demo ended before they were explained."""
        return sum(not seen.event.regions for seen in self.seen)

    @property
    def elsewhere(self) -> int:
        """Boxes that lie on no defect."""
        return sum(seen.elsewhere for seen in self.seen)


def covers_defect(region: EventRegion, truth: Ellipse, *, width: int, height: int) -> bool:
    """Return whether the centre of a box lies within the ellipse, in an image of `width` x `height`."""
    row, column = region.y + region.height // 2, region.x + region.width // 2
    return bool(truth.mask(height, width)[row, column])
