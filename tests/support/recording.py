"""Frames for the pipeline, and an observer that records what it is told of them."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from monitor.records import Box, Frame, Image
from tests.support.fake_model import SIZE


@dataclass
class RecordingObserver:
    """An observer that remembers."""

    frames: Counter[tuple[str, str]] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)
    unfamiliar: list[float] = field(default_factory=list)
    late: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def on_stage(self, camera: str, stage: str, seconds: float) -> None:
        assert seconds >= 0
        self.stages[stage] += 1
        self.seconds[stage] += seconds  # type: ignore[assignment]

    def on_verdict(self, camera: str, score: float, seconds: float) -> None:
        assert 0 <= score <= 1
        assert seconds >= 0
        self.order.append(camera)

    def on_late_verdict(self, camera: str) -> None:
        self.late[camera] += 1

    def on_outcome(self, camera: str, outcome: str) -> None:
        self.frames[camera, outcome] += 1

    def on_explanation(self, camera: str, outcome: str) -> None:
        self.stages[outcome] += 1

    def on_novelty(self, camera: str, distance: float, limit: float) -> None:
        if distance > limit:
            self.unfamiliar.append(distance)


WHOLE = (Box(0, 0, 2 * SIZE, 2 * SIZE),)


def frame(camera: str, number: int, brightness: int, boxes: tuple[Box, ...] = WHOLE) -> Frame:
    image: Image = np.full((2 * SIZE, 2 * SIZE, 3), brightness, np.uint8)
    parts = [image[box.top : box.bottom, box.left : box.right][:SIZE, :SIZE] for box in boxes]
    return Frame(camera, number, datetime.now(UTC), 0.0, image, boxes, np.stack(parts))
