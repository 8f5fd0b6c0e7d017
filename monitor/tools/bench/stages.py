"""Measures the cost of each stage on one core, and its lower bound.

Costs are processor time, summed over threads, the lowest of several rounds, independent of other load. The
floor of work that moves images is its bytes over the bandwidth of a plain copy; that of the network is its
operations over the rate of a large matrix product, all in the same run.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from monitor.bootstrap import inference as build_inference
from monitor.capture.image_checks import QualityLimits, unusable_reason
from monitor.capture.sources.opening import open_source
from monitor.events.event import build_event
from monitor.events.messages import EventMessage
from monitor.imaging.annotation import annotate
from monitor.imaging.geometry import resize_to_input
from monitor.imaging.jpeg import encode_jpeg
from monitor.imaging.regions import find_regions, merge_heatmaps
from monitor.inference.device import ComputeDevice
from monitor.inference.handle import CamHeat, Classification, Evidence, ModelSpec, Proceed
from monitor.inference.router import ModelRouter
from monitor.models.bundle import load_bundle
from monitor.models.novelty import NoveltyScore
from monitor.models.registry import resolve_model_path
from monitor.pipeline.inference_stage import InferenceStage
from monitor.pipeline.interfaces import ignore
from monitor.records import Box, Explanation, Finding, Frame, Image, TileHeatmap, Verdict
from monitor.settings import parse_settings
from monitor.telemetry.metrics import Metrics
from monitor.tools.bench.line import BenchConfig, PipelineResult
from monitor.tools.bench.recordings import every_nth, video

_ROUNDS = 5


class _NullModel:
    """A loaded model that finds nothing, in no time."""

    refinement_seconds = 0.0
    efficient_batch = 8

    def __init__(self, spec: ModelSpec, device: ComputeDevice) -> None:
        self.spec, self.device = spec, device

    def load(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def classify(
        self, inputs: NDArray[np.uint8], thresholds: NDArray[np.float64] | None = None
    ) -> Classification:
        """Find every input good and familiar."""
        return Classification(
            np.zeros(len(inputs), np.float32), [NoveltyScore(1.0, 2.0)] * len(inputs), [None] * len(inputs)
        )

    def explain(self, image: Image, evidence: Evidence | None, proceed: Proceed) -> CamHeat:
        """Never called: nothing is flagged."""
        raise AssertionError


def stages(setup: BenchConfig) -> list[PipelineResult]:
    """Return milliseconds of one core per frame (map, event) in each stage, with the floor where known."""
    recording = video(setup.folder / "one-in-10.mp4", 300, every_nth(10))
    frames = _frames(recording, 100)
    text = f'[[camera]]\nname = "line"\nsource = "simulate:"\n{setup.more}'
    wanted = parse_settings(text, "bench", {})
    bundle = load_bundle(resolve_model_path(wanted.model.path))
    classifier = build_inference.build_model(wanted, bundle)
    classifier.load()
    size = bundle.card.input_size
    fitted = np.stack([resize_to_input(frame, size) for frame in frames[:8]])
    copied, product = _bandwidth(), _rate()
    work = operations(bundle.keras_model())
    limits = QualityLimits(**wanted.sanity.model_dump(exclude={"enabled"}))
    shown = frames[5]  # one with a defect
    kept = classifier.classify(resize_to_input(shown, size)[None]).evidence[0]
    heat = classifier.explain(resize_to_input(shown, size), kept)
    patch = TileHeatmap(heat.heatmap, Box(0, 0, shown.shape[1], shown.shape[0]), heat.peak)
    spread = partial(
        merge_heatmaps,
        [patch],
        width=shown.shape[1],
        height=shown.shape[0],
        input_size=size,
        cell_offset=bundle.card.cell_offset,
    )
    spread_out = spread()
    share = bundle.card.localisation.threshold
    located = partial(find_regions, spread_out, threshold=share, minimum_area=100)
    regions = located()
    drawn = partial(_drawn, shown, regions, spread_out)
    frame = _frame(shown, fitted[:1])
    router = ModelRouter(_NullModel(classifier.spec, classifier.device))
    judge = InferenceStage(router, ignore, ignore, Metrics(CollectorRegistry()), batch=8)
    explanation = Explanation("faster-score-cam", 10, "full", (patch,))
    finding = Finding(frame, Verdict("defect", 0.99, 0.5), explanation, regions)
    jpeg = encode_jpeg(drawn(), 85)

    def event() -> None:
        made = build_event(finding, model_name="", model_sha256="0" * 64)
        EventMessage.of(made, jpeg)

    once = work / product
    costs: list[tuple[str, float, float | None]] = [
        ("decode H.264, 512x512", cpu_seconds(lambda: _frames(recording, 100)) / 100, None),
        ("look whether it can be judged", cpu_seconds(partial(unusable_reason, shown, limits)), None),
        (
            "resize to the network's input",
            cpu_seconds(partial(resize_to_input, shown, size)),
            shown.nbytes / copied,
        ),
        ("copy a frame", cpu_seconds(partial(np.copyto, np.empty_like(shown), shown)), shown.nbytes / copied),
        ("network, batch 8, a frame", cpu_seconds(partial(classifier.classify, fitted)) / 8, once),
        ("network, batch 1", cpu_seconds(partial(classifier.classify, fitted[:1])), once),
        (
            "judge: queue, verdict, metrics, a frame",
            cpu_seconds(partial(judge.process, [frame] * 8)) / 8,
            None,
        ),
        ("explain, 10 maps", cpu_seconds(partial(classifier.explain, fitted[5], kept)), 10 * once),
        ("heat in the frame's pixels", cpu_seconds(spread), spread_out.nbytes / copied),
        ("regions", cpu_seconds(located), None),
        ("annotate", cpu_seconds(drawn), 2 * shown.nbytes / copied),
        ("JPEG", cpu_seconds(partial(encode_jpeg, drawn(), 85)), None),
        ("event document", cpu_seconds(event), None),
    ]
    floors = {
        "copy, GB/s": copied / 1e9,
        "matrix product, GFLOP/s a core": product / 1e9,
        "network, GFLOP": work / 1e9,
    }
    return [
        PipelineResult(
            0,
            f"one core: {name}",
            f"{1000 * seconds:.2f} ms" + ("" if floor is None else f", floor {1000 * floor:.2f}"),
            "",
            None,
            floors,
        )
        for name, seconds, floor in costs
    ]


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the processor seconds of `work`, the lowest of several rounds of at least 0.1 s."""
    work()
    started_at = time.process_time()
    work()
    repeats = max(1, round(0.1 / max(1e-6, time.process_time() - started_at)))
    least = float("inf")
    for _ in range(_ROUNDS):
        started_at = time.process_time()
        for _ in range(repeats):
            work()
        least = min(least, (time.process_time() - started_at) / repeats)
    return least


def operations(model: Any) -> float:
    """Return the floating-point operations of one forward pass: two per product of its weighted layers."""
    total = 0.0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            places = np.prod(layer.output.shape[1:-1], dtype=float)  # 1 for a dense layer
            total += 2 * places * float(np.prod(kernel.shape))
    return total


def _bandwidth() -> float:
    """Bytes per second of a plain copy in memory."""
    source = np.ones(64_000_000, np.uint8)
    target = np.empty_like(source)
    return source.nbytes / cpu_seconds(partial(np.copyto, target, source))


def _rate() -> float:
    """Floating-point operations per second and core of a large float32 product."""
    side = 1024
    left = tf.random.normal((side, side))
    return 2 * side**3 / cpu_seconds(lambda: tf.matmul(left, left).numpy())


def _frames(recording: Path, count: int) -> list[Image]:
    source = open_source(str(recording))
    try:
        return [image for _ in range(count) if (image := source.read()) is not None]
    finally:
        source.close()


def _frame(image: Image, inputs: Any) -> Frame:
    box = Box(0, 0, image.shape[1], image.shape[0])
    return Frame("line", 0, datetime.now(UTC), time.monotonic(), image, (box,), inputs)


def _drawn(image: Image, regions: Any, heat: Any) -> Image:
    return annotate(
        image,
        regions,
        heat,
        label="defect",
        score=0.99,
        threshold=0.5,
        camera="line",
        captured_at="2026-11-23",
        reason=None,
    )
