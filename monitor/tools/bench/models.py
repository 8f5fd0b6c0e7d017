"""What a line of four cameras costs with one model, with two, and with a model for each camera."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from monitor.inference.candidates import InferenceOptions
from monitor.inference.local import LocalModel
from monitor.inference.scheduler import DeviceScheduler
from monitor.models.bundle import ModelBundle

CAMERAS = 4


COUNTS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class ModelsTiming:
    """Frames a second of all cameras together, and as a ratio to one model; median over all rounds.

    `further_megabytes` is the resident memory that each model after the first one added, on average.
    """

    models: int
    frames_per_second: float
    to_one: float
    further_megabytes: float


def run(bundle: ModelBundle, *, rounds: int = 20) -> list[ModelsTiming]:
    """Measure on this machine; each model is loaded by itself from `bundle`, images are noise of its size."""
    images = np.random.default_rng(0).integers(0, 256, (CAMERAS, *bundle.card.input_size, 3), np.uint8)
    scheduler = DeviceScheduler()
    models: list[LocalModel] = []
    memory: list[int] = []
    for _ in range(max(COUNTS)):
        models.append(LocalModel(bundle, InferenceOptions(), scheduler=scheduler))
        models[-1].load()
        models[-1].classify(images)
        memory.append(_resident_bytes())
    seconds: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(rounds):
        for count in COUNTS:
            seconds[count].append(_pass_seconds(models[:count], images))
    rates = {count: CAMERAS / median(each) for count, each in seconds.items()}
    return [
        ModelsTiming(
            count,
            rates[count],
            rates[count] / rates[COUNTS[0]],
            (memory[count - 1] - memory[0]) / max(1, count - 1) / 1e6,
        )
        for count in COUNTS
    ]


def _pass_seconds(models: Sequence[LocalModel], images: NDArray[np.uint8]) -> float:
    """Classify a frame of each camera; cameras of one model share a batch."""
    share = len(images) // len(models)
    started_at = time.perf_counter()
    for index, model in enumerate(models):
        model.classify(images[index * share : (index + 1) * share])
    return time.perf_counter() - started_at


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
