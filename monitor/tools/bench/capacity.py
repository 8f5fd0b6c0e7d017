"""How many cameras of a configuration this machine carries, and what limits it.

The cost of each stage is measured with the daemon's own parts, in seconds of one processor core, so that
other work on the machine matters little. Capacity is computed from it: the cores are shared by all stages,
and a stage that runs in one thread, or on a GPU, has a limit of its own.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from pathlib import Path
from statistics import fmean, median

import numpy as np

from monitor.bootstrap import inference as build_inference
from monitor.bootstrap.cameras import camera_configs
from monitor.bootstrap.delivery import outbox_path
from monitor.capture.config import CaptureConfig, Tiles
from monitor.capture.sources.base import NoFrameYet
from monitor.daemon.cameras import CameraConfig
from monitor.errors import ImageError, MonitorError
from monitor.inference.router import ModelRouter
from monitor.models.bundle import load_bundle
from monitor.models.registry import resolve_model_path
from monitor.pipeline.explanation_stage import ExplanationStage
from monitor.pipeline.interfaces import FlaggedFrame, FlaggedTile, ignore
from monitor.records import Frame, Image, Verdict
from monitor.settings import Settings
from monitor.telemetry.metrics import Metrics, create_registry

HEADROOM = 0.8
"""Fraction of the machine that may be planned for: the rest is for bursts and for other programs."""


_DEFAULT_RATE = 15.0


_FRAMES, _SECONDS = 60, 5.0  # most frames, and seconds, for which one camera is read


_ROUNDS = 12


_EVENT_BYTES = 130_000  # an event with an annotated frame of 512x512


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage costs, and how many cameras it would carry alone.

    `milliseconds` of one core, or of the GPU or the disk, for each frame or event (`per`); `share` is the
    fraction of the machine that one camera uses.
    """

    stage: str
    per: str
    milliseconds: float
    share: float
    cameras: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """The answer: `cameras` of `rate` frames a second each, limited by the stage `limit`."""

    cameras: int
    configured: int
    rate: float
    event_rate: float
    limit: str
    stages: Sequence[StageCost]


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured seconds: `capture`, `network` a frame, `explanation`, `delivery` an event; 0: not measured.

    `network_on_cpu`: whether the network shares the cores with the other stages.
    """

    capture: float
    network: float
    explanation: float
    delivery: float
    network_on_cpu: bool = True


_MOST = 1_000_000
"""Cameras beyond which nobody asks; the quotient of a tiny load may be infinite."""


def capacity(costs: Costs, *, rate: float, event_rate: float, cores: int, configured: int = 1) -> Capacity:
    """Compute how many cameras of `rate` frames/s, `event_rate` of them flagged, `cores` carry.

    A stage without a cost is not listed. Raises ValueError where none has one.
    """
    events = rate * event_rate
    network_cores = cores if costs.network_on_cpu else 1
    measured = (  # name, seconds, of what, how many of it a second, the machine's seconds a second
        ("decode and check", costs.capture, "frame", rate, cores),
        ("network", costs.network, "frame", rate, network_cores),
        ("explanation", costs.explanation, "event", events, 1),
        ("delivery", costs.delivery, "event", events, 1),
    )
    stages = [
        StageCost(name, per, 1000 * seconds, seconds * often / machine, _cameras(seconds * often, machine))
        for name, seconds, per, often, machine in measured
        if seconds * often > 0
    ]
    if not stages:
        raise ValueError("no stage has a cost")
    # Where the cores are the limit, the stage that uses most of them is named.
    on_cores = {
        name: seconds * often
        for name, seconds, _, often, _ in measured
        if name != "delivery" and (name != "network" or costs.network_on_cpu)
    }
    tightest = max(stages, key=lambda stage: stage.share)
    together = _cameras(sum(on_cores.values()), cores) if any(on_cores.values()) else tightest.cameras
    carried = min(together, tightest.cameras)
    limit = tightest.stage if carried == tightest.cameras else max(on_cores, key=lambda name: on_cores[name])
    return Capacity(carried, configured, rate, event_rate, limit, stages)


def measure_capacity(settings: Settings, *, event_rate: float = 0.05, rate: float | None = None) -> Capacity:
    """Measure what this machine carries of cameras like those of `settings`.

    `rate` replaces the frames per second of the settings. Raises MonitorError where the model or a camera
    cannot be used.
    """
    bundle = load_bundle(resolve_model_path(settings.model.path))
    model = build_inference.build_model(settings, bundle)
    model.load()
    configs = camera_configs(settings, ModelRouter(model))
    measured = [_measure_capture(config) for config in configs]
    rates = [rate or _rate(config) for config in configs]
    on_cpu = model.device.kind == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    inputs = [tiles[1] for _, _, tiles in measured]
    network = fmean(_least_seconds(lambda each=each: model.classify(each), clock) for each in inputs)  # type: ignore[misc]
    flagging = build_inference.build_model(_flag_all(settings), bundle)
    flagging.share_network(model)
    interval = 1 / sum(rates)

    def flagged(image: Image, tiles: Tiles) -> FlaggedFrame:
        boxes, parts = tiles
        answer = flagging.classify(parts[:1])
        frame = Frame("bench", 0, datetime.now(UTC), time.monotonic(), image, boxes, parts)
        tile = FlaggedTile(boxes[0], parts[0], float(answer.scores[0]), answer.evidence[0])
        return FlaggedFrame(frame, flagging, Verdict("defect", 1.0, 0.5), (tile,), None, {}, interval)

    stage = ExplanationStage(
        build_inference.explanation_config(settings), ignore, ignore, Metrics(create_registry())
    )
    explained = [flagged(image, tiles) for _, image, tiles in measured]
    explanation = fmean(_least_seconds(lambda each=each: stage.process(each)) for each in explained)  # type: ignore[misc]
    costs = Costs(
        capture=fmean(seconds for seconds, _, _ in measured),
        network=network,
        explanation=explanation,
        delivery=_store_seconds(settings),
        network_on_cpu=on_cpu,
    )
    cores = len(os.sched_getaffinity(0))
    return capacity(costs, rate=fmean(rates), event_rate=event_rate, cores=cores, configured=len(configs))


def _cameras(load: float, machine: float) -> int:
    return floor(min(HEADROOM * machine / load + 1e-9, _MOST))


def _flag_all(settings: Settings) -> Settings:
    """Return settings with which every frame is flagged, so that there is something to explain."""
    return settings.model_copy(update={"model": settings.model.model_copy(update={"threshold": 0.0})})


def _rate(config: CameraConfig) -> float:
    return config.capture.fps or config.expected_fps or _DEFAULT_RATE


def _measure_capture(config: CameraConfig) -> tuple[float, Image, Tiles]:
    """Read a camera; return processor seconds a frame, and the last frame with its network inputs."""
    capture: CaptureConfig = config.capture
    count, prepared, deadline = 0, None, time.monotonic() + _SECONDS
    with contextlib.closing(capture.open_source()) as source:
        started_at = time.process_time()
        while count < _FRAMES and time.monotonic() < deadline:
            try:
                image = source.read()
            except NoFrameYet as pause:
                time.sleep(pause.seconds)
                continue
            except ImageError:
                continue
            if image is None:
                break
            capture.unusable_reason(image)
            prepared = image, capture.cut_tiles(image)
            count += 1
            if count == 1:  # the first frame includes what happens once
                started_at = time.process_time()
        spent = time.process_time() - started_at
    if prepared is None:
        raise MonitorError(f"camera {config.name}: no frame can be read, so its cost is unknown")
    return spent / max(1, count - 1), *prepared


def _least_seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Return the least seconds of several rounds: in the others, other programs took part of the caches."""
    work()
    seconds = []
    for _ in range(_ROUNDS):
        started_at = clock()
        work()
        seconds.append(clock() - started_at)
    return min(seconds)


def _store_seconds(settings: Settings) -> float:
    """Return the seconds in which the disk of the outbox stores one event; 0 without an outbox file."""
    path = outbox_path(settings)
    if path is None:
        return 0.0
    event = np.random.default_rng(0).bytes(_EVENT_BYTES)
    seconds = []
    folder = path.parent if path.parent.is_dir() else Path(tempfile.gettempdir())
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_ROUNDS):
            started_at = time.perf_counter()
            file.write(event)
            file.flush()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - started_at)
    return median(seconds)
