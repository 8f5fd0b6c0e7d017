"""A network as compiled graphs of fixed batch sizes, warmed up: it classifies batches and explains inputs.

`classify` also returns the activations of the explained layer. From these an input is explained: at once,
without a forward pass, and then by Faster-Score-CAM in steps of a few maps, between which batches are
classified.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.inference.backends.base import Backend, GraphFunction, graph_precision
from monitor.inference.device import ComputeDevice
from monitor.inference.handle import CAM_METHOD, FLOOR_METHOD, CamHeat, Proceed
from monitor.inference.precision import PrecisionFallback, recheck_band
from monitor.inference.scheduler import DeviceScheduler, split_batch
from monitor.records import Image

Activations = NDArray[np.float32]
"""What the explained layer returned for one input: (1, rows, columns, c)."""


_FLAT = 1e-5
"""Heat that varies by less than this fraction of its maximum points nowhere; it is rounding."""


_MIN_SAVING = 1.1
"""How many times as fast a larger batch must classify an input, for it to be used."""


class NetworkOutput(NamedTuple):
    """The answer to b inputs: `scores` (b,) 0..1, and `features` (b, c), the activations averaged over space.

    `activations` holds a copy for each input whose score reaches the threshold, None for the others.
    `distances` (b,) are those of inputs that an early exit answered from the images of its training, in units
    of the limit of familiarity; such inputs have no features (0). The others have NaN.
    """

    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    activations: Sequence[Activations | None]
    distances: NDArray[np.float32]


class Network:
    """The graphs that `backend` wrote into `folder`, compiled for `device`.

    `size` is the (height, width) of inputs, `batch` the largest number in one pass;
    smaller ones are used where a larger one saves no time. An input whose score
    reaches `threshold` keeps its activations. An explanation scores `max_n` maps, or all if there are fewer,
    `step` at a time, for which the graphs were made. In reduced precision, an input whose score lies near the
    threshold is classified again in single precision; while nearly all do, in single precision alone. So is,
    where an early exit answers (`screened`), an input whose score there is not below `screening_limit`.
    """

    def __init__(
        self,
        backend: Backend,
        folder: Path,
        *,
        device: ComputeDevice,
        size: tuple[int, int],
        batch: int,
        threshold: float,
        max_n: int,
        step: int = 1,
        scheduler: DeviceScheduler | None = None,
        screening_limit: float | None = None,
    ) -> None:
        self.device = device
        self._screening_limit = screening_limit
        self._step = step
        self._size = size
        self._threshold = threshold
        self._scheduler = scheduler or DeviceScheduler()

        def load(name: str, count: int = 1) -> GraphFunction:
            precision = graph_precision(name, device.precision)
            return backend.compile(folder, name, batch=count, precision=precision)

        sizes = sorted({*(2**power for power in range(batch.bit_length())), batch})
        first = "classify" if screening_limit is None else "screen"
        self._classify = self._useful_passes(partial(load, first), sizes)
        self.efficient_batch = max(self._classify)
        self._costs: Mapping[int, float] = dict.fromkeys(self._classify, 1.0)  # until measured: fewest passes
        exact = device.precision == "fp32"
        self._fallback = None if exact else PrecisionFallback(is_early_exit=screening_limit is not None)
        self._fp32 = self._classify[1] if exact else load("classify_fp32")
        self._fp32_cost: float | None = None  # until measured
        self._mask_inputs, self._score_maps = load("mask_inputs"), load("score_maps")
        maps = self._warm_up()
        self._channels, self._blank_maps = len(maps), maps[:max_n]
        self.max_n = len(self._blank_maps)
        self.refinement_seconds = math.inf  # until measured

    def _useful_passes(
        self, compile_for: Callable[[int], GraphFunction], sizes: Sequence[int]
    ) -> Mapping[int, GraphFunction]:
        """Compile for growing numbers of inputs, as long as more inputs in a pass save time; run each."""
        passes: dict[int, GraphFunction] = {}
        least = math.inf
        for count in sizes:
            run, blank = compile_for(count), self._blank(count)
            self._time(run, blank)  # the first run takes longer
            seconds = min(self._time(run, blank) for _ in range(2)) / count
            if seconds * _MIN_SAVING > least:
                break
            passes[count], least = run, seconds
        return passes

    def _warm_up(self) -> NDArray[np.float32]:
        """Run the other graphs once, before any frame; return all maps (c, fh, fw) of an image."""
        image = self._blank(1)[0]
        maps = _leading_maps(self.activations(image), None)
        self._time(self._score_step, image, maps, 0)
        return maps

    def classify(
        self, images: NDArray[np.uint8], thresholds: NDArray[np.float64] | None = None
    ) -> NetworkOutput:
        """Classify (b, h, w, 3) uint8 inputs of the network's size; any b ≥ 1.

        `thresholds` (b,) replace that of the network.
        """
        if thresholds is None:
            thresholds = np.full(len(images), self._threshold)
        passes = split_batch(self._costs, len(images))
        starts = accumulate(passes, initial=0)
        return _concatenate(
            self._classify_pass(images[start : start + size], thresholds[start : start + size], size)
            for start, size in zip(starts, passes, strict=False)
        )

    def benchmark(self, rounds: int = 2) -> None:
        """Measure, `rounds` times in turn, and from now on choose what takes least time.

        That is into which passes a batch is split, and whether reduced precision is tried first.
        """
        costs, exact, step = dict.fromkeys(self._classify, math.inf), math.inf, math.inf
        image = self._blank(1)
        for _ in range(rounds):
            for size, run in self._classify.items():
                costs[size] = min(costs[size], self._time(run, self._blank(size)))
            exact = min(exact, self._time(self._fp32, image))
            step = min(step, self._time(self._score_step, image[0], self._blank_maps, 0))
        self._costs, self._fp32_cost = costs, exact
        self.refinement_seconds = step * math.ceil(self.max_n / self._step)

    def _time(self, run: Callable[..., Any], *arguments: Any) -> float:
        """Time one run in seconds, between the verdicts of a model that is in use."""
        with self._scheduler.explanation_slot():
            return _seconds(run, *arguments)

    def speedup(self) -> float | None:
        """How many times as fast as single precision one input is classified, as measured last.

        None in single precision, and before the first measurement.
        """
        if self._fallback is None or self._fp32_cost is None:
            return None
        return self._fp32_cost / self._costs[1]

    def activations(self, image: Image) -> Activations:
        """Compute the activations of the explained layer for one input (h, w, 3) uint8."""
        with self._scheduler.explanation_slot():
            return self._classify_fp32(image)[2]

    def explain(
        self,
        image: Image,
        activations: Activations | None,
        proceed: Proceed = lambda: True,
    ) -> CamHeat:
        """Explain the defect class on one input (h, w, 3) uint8.

        Maps are scored step by step for as long as `proceed` allows. The heat is that of Faster-Score-CAM
        with as many maps as were scored. Where none was, or their heat shows nothing, it is the heat of the
        activations alone. Without `activations` they are computed again.
        """
        if activations is None:
            activations = self.activations(image)
        if not np.isfinite(activations).all():
            return CamHeat(np.zeros(activations.shape[1:3], np.float32), 0.0, FLOOR_METHOD, 0)
        maps = _leading_maps(activations, self.max_n)
        weights = np.zeros(len(maps), np.float32)
        scored = 0
        while scored < len(maps) and proceed():
            with self._scheduler.explanation_slot():
                step = self._score_step(image, maps, scored)
            weights[scored : scored + len(step)] = step
            scored += len(step)
        if scored:
            heat, peak = _scaled_heat(np.tensordot(weights, maps, axes=1))
            if peak > 0:
                return CamHeat(heat, peak, CAM_METHOD, scored)
        return activation_heat(activations, self.max_n)

    def _score_step(self, image: Image, maps: NDArray[np.float32], start: int) -> NDArray[np.float32]:
        """Return the weights of the next maps (n, fh, fw) from `start` on, as many as a step has."""
        indices = np.minimum(np.arange(start, start + self._step), len(maps) - 1)
        (weights,) = self._score_maps(*self._mask_inputs(image[None], maps[indices]))
        return np.array(weights, np.float32)[: len(maps) - start]

    def _blank(self, count: int) -> NDArray[np.uint8]:
        return np.zeros((count, *self._size, 3), np.uint8)

    def _classify_pass(
        self, images: NDArray[np.uint8], thresholds: NDArray[np.float64], size: int
    ) -> NetworkOutput:
        """Classify at most `size` images in one pass."""
        count, fallback, exact = len(images), self._fallback, self._fp32_cost
        limit = self._screening_limit
        bands = [recheck_band(float(each), limit) for each in thresholds] if fallback else []
        distances = np.full(count, np.nan, np.float32)
        with self._scheduler.verdict_slot():
            if fallback and exact and not fallback.is_worthwhile(self._costs[size], exact, count):
                output: Sequence[Any] = ()
                rows: list[tuple[Any, Any, Activations | None]]
                rows = [self._classify_fp32(image) for image in images]
                if limit is None:  # of an early exit, these scores tell nothing
                    fallback.needs_recheck(np.array([score for score, _, _ in rows]), bands)
            else:
                padding = np.repeat(images[-1:], size - count, axis=0)
                output = self._classify[size](np.concatenate([images, padding]) if size > count else images)
                scores, features = (np.asarray(part)[:count] for part in output[:2])
                again = fallback.needs_recheck(scores, bands) if fallback else np.zeros(count, np.bool_)
                if limit is not None:
                    distances = np.where(again, np.float32(np.nan), features)
                    features = np.zeros((count, self._channels), np.float32)
                rows = [
                    self._classify_fp32(image) if doubtful else (score, feature, None)
                    for image, doubtful, score, feature in zip(images, again, scores, features, strict=True)
                ]
            return NetworkOutput(
                np.array([score for score, _, _ in rows], np.float32),
                np.array([feature for _, feature, _ in rows], np.float32),
                [
                    np.array(output[2][index : index + 1] if own is None else own, np.float32)
                    if score >= threshold
                    else None
                    for index, ((score, _, own), threshold) in enumerate(zip(rows, thresholds, strict=True))
                ],
                distances,
            )

    def _classify_fp32(self, image: Image) -> tuple[np.float32, NDArray[np.float32], Activations]:
        """Classify one image in single precision."""
        score, features, activations = self._fp32(image[None])
        return np.asarray(score)[0].copy(), np.array(features)[0], np.array(activations)


def activation_heat(activations: Activations, max_n: int) -> CamHeat:
    """Return the mean of the `max_n` maps of highest standard deviation: heat without a forward pass."""
    maps = _leading_maps(activations, max_n)
    return CamHeat(*_scaled_heat(maps.mean(axis=0)), FLOOR_METHOD, len(maps))


def _leading_maps(activations: Activations, max_n: int | None) -> NDArray[np.float32]:
    """Return the `max_n` maps of highest standard deviation, highest first: (n, rows, columns)."""
    maps = activations[0]
    leading = np.argsort(-maps.std(axis=(0, 1)), kind="stable")[:max_n]
    return np.ascontiguousarray(np.moveaxis(maps[..., leading], -1, 0))


def _scaled_heat(heat: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Scale the positive part of `heat` (rows, columns) to 0..1; return it and its peak before.

    Heat that is zero, flat or not finite is all zero, and so is its peak.
    """
    heat = np.maximum(heat, 0)
    peak = float(heat.max())
    if not (math.isfinite(peak) and peak - float(heat.min()) > _FLAT * peak):
        return np.zeros_like(heat), 0.0
    return heat / np.float32(peak), peak


def _seconds(run: Callable[..., Any], *arguments: Any) -> float:
    """Time one run until its result is there."""
    started_at = time.perf_counter()
    np.asarray(run(*arguments)[0])
    return time.perf_counter() - started_at


def _concatenate(outputs: Iterable[NetworkOutput]) -> NetworkOutput:
    scores, features, activations, distances = zip(*outputs, strict=True)
    return NetworkOutput(
        np.concatenate(scores),
        np.concatenate(features),
        [each for part in activations for each in part],
        np.concatenate(distances),
    )
