"""The network as the daemon runs it: by one runtime, for fixed batch sizes, warmed up.

One graph classifies a batch and hands out the activations of the explained layer. From these a flagged
picture is explained: in steps of a few maps, between which verdicts have their turn, or as a whole.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from monitor.inference.backends.base import GRAPHS, Backend, GraphFunction, graph_precision
from monitor.inference.device import ComputeDevice
from monitor.inference.precision import PrecisionFallback
from monitor.inference.scheduler import DeviceScheduler
from monitor.records import Heatmap

Proceed = Callable[[int, float], bool]
"""Asked before the first step and told after each: maps weighed, the step's seconds. Whether to go on."""


@dataclass(slots=True, eq=False)
class Activations(Sequence[Any]):
    """What the explained layer gave for each picture of a batch: (1, fh, fw, c), copied when asked for.

    Few pictures are flagged, so only theirs need copying out of the runtime's buffer. To be read before the
    next batch is classified, which takes the buffer; RuntimeError after that.
    """

    tensor: Any
    length: int
    current: Callable[[], bool]
    owned: dict[int, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self.length))]
        place = range(self.length)[index]
        if place not in self.owned:
            if not self.current():
                raise RuntimeError("activations are to be read before the next batch is classified")
            part = self.tensor[place : place + 1]
            self.owned[place] = part.copy() if isinstance(part, np.ndarray) else part
        return self.owned[place]


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """The network's answer to a batch of b pictures.

    `scores` (b,) float32, probability of a defect, 0..1. `features` (b, c) float32, the activations
    averaged over space. `activations` b tensors (1, fh, fw, c), see `Activations` for how long.
    """

    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    activations: Sequence[Any]


class LocalModel:
    """A classifier made ready by `runtime` of the graphs that it wrote into `folder`.

    `size` is the (height, width) of pictures and `batch` the most that are shown at once. An explanation
    weighs `max_n` maps, as many at a time as the graph of its steps was made for. `whole` makes it ready to
    weigh them all at once as well. `gate` says whose turn it is, `device` what computes and how. A picture
    whose score lies between the two of `doubt` is judged again, wholly, in single precision; while nearly all
    are, in single precision alone.
    """

    def __init__(
        self,
        runtime: Backend,
        folder: Path,
        *,
        device: ComputeDevice,
        size: tuple[int, int],
        batch: int,
        gate: DeviceScheduler | None = None,
        single_batch: bool = False,
        doubt: tuple[float, float] | None = None,
    ) -> None:
        self.device = device
        self._size = size
        self._gate = gate or DeviceScheduler()

        def load(name: str, count: int = 1) -> GraphFunction:
            return runtime.compile(
                folder / name, GRAPHS[name], count, graph_precision(name, device.precision)
            )

        sizes = sorted({*(2**power for power in range(batch.bit_length())), batch})
        self._classify: Mapping[int, GraphFunction] = {count: load("classify", count) for count in sizes}
        self._costs: Mapping[int, float] = dict.fromkeys(sizes, 1.0)  # until measured: as few as can be
        self._doubt = None if doubt is None else PrecisionFallback(*doubt)
        self._fp32 = self._classify[1] if doubt is None else load("exact")
        self._exact_cost: float | None = None  # until measured
        self._choose, self._combine = load("choose"), load("combine")
        self._mask, self._weigh = load("mask"), load("weigh")
        self._whole = load("whole") if single_batch else None
        self._batches = 0
        self.max_n = self._warm_up()

    def _warm_up(self) -> int:
        """Run each graph once, so that no frame pays for a first run; gives how many maps are weighed."""
        for count in self._classify:
            answer = self._classify_pass(self._blank(count), count)
        picture, activations = self._blank(1), answer.activations[0]
        self._fp32(picture)
        maps, inputs = self._choose(picture, activations)
        self._weigh(*self._mask(maps, inputs, np.zeros(1, np.int32)))
        self._combine(maps, np.zeros(len(maps), np.float32))
        if self._whole is not None:
            self._whole(picture, activations)
        return len(maps)

    def classify(self, pictures: NDArray[np.uint8]) -> Classification:
        """Judge (b, h, w, 3) uint8 pictures at the network's size; any b ≥ 1."""
        passes = split_batch(self._costs, len(pictures))
        if len(passes) == 1:
            return self._classify_pass(pictures, passes[0])
        starts = accumulate(passes, initial=0)
        return _concatenate(
            self._classify_pass(pictures[start : start + size], size)
            for start, size in zip(starts, passes, strict=False)
        )

    def benchmark(self, rounds: int = 2) -> None:
        """From now on choose what takes least time, as measured now, `rounds` times in turn.

        That is into which passes a batch is split, and whether reduced precision is asked first.
        """
        costs, exact = dict.fromkeys(self._classify, math.inf), math.inf
        for _ in range(rounds):
            for size, run in self._classify.items():
                costs[size] = min(costs[size], _seconds(run, self._blank(size)))
            exact = min(exact, _seconds(self._fp32, self._blank(1)))
        self._costs, self._exact_cost = costs, exact

    def speedup(self) -> float | None:
        """How many times as fast as in single precision a picture is judged; None if that is what it runs in.

        As measured last; None before that, too.
        """
        if self._doubt is None or self._exact_cost is None:
            return None
        return self._exact_cost / self._costs[1]

    def explain(
        self, picture: NDArray[np.uint8], activations: Any, proceed: Proceed = lambda _maps, _seconds: True
    ) -> tuple[Heatmap, float, int]:
        """Explain the defect class on one (h, w, 3) picture: heat (fh, fw), 0..1, its peak, maps weighed.

        Leading maps are weighed step by step while `go_on` says so; the heat is that of Faster-Score-CAM
        with as many maps as were weighed, its peak the one before scaling. A peak of 0 says that there is no
        evidence to show: no map was weighed, or the heat is flat, zero or not finite.
        """
        weights = np.zeros(self.max_n, np.float32)
        maps = inputs = None
        weighed, going = 0, proceed(0, 0.0)
        while going and weighed < self.max_n:
            with self._gate.explanation_slot():
                began = time.monotonic()
                if maps is None:
                    maps, inputs = self._choose(picture[None], activations)
                (step,) = self._weigh(*self._mask(maps, inputs, np.array([weighed], np.int32)))
                step = np.asarray(step)[: self.max_n - weighed]
                seconds = time.monotonic() - began
            weights[weighed : weighed + len(step)] = step
            weighed += len(step)
            going = proceed(weighed, seconds)
        if not weighed:
            return np.zeros(activations.shape[1:3], np.float32), 0.0, 0
        return *_heat(self._combine(maps, weights)), weighed

    def explain_single_batch(self, picture: NDArray[np.uint8], activations: Any) -> tuple[Heatmap, float]:
        """The same heat and peak with all maps in one batch, which is quicker and holds up verdicts.

        Only of a classifier that was made with `whole`.
        """
        if self._whole is None:
            raise ValueError("this classifier explains in steps only")
        with self._gate.explanation_slot():
            return _heat(self._whole(picture[None], activations))

    def _blank(self, count: int) -> NDArray[np.uint8]:
        return np.zeros((count, *self._size, 3), np.uint8)

    def _classify_pass(self, pictures: NDArray[np.uint8], size: int) -> Classification:
        """Judge `size` pictures or fewer at once."""
        count = len(pictures)
        self._batches += 1
        this = self._batches
        activations = Activations(None, count, lambda: self._batches == this)
        doubt, exact = self._doubt, self._exact_cost
        with self._gate.verdict_slot():
            if doubt is None or exact is None or doubt.is_worthwhile(self._costs[size], exact, count):
                spare = np.repeat(pictures[-1:], size - count, axis=0)
                answer = self._classify[size](np.concatenate([pictures, spare]) if size > count else pictures)
                scores, features = (np.array(part, np.float32)[:count] for part in answer[:2])
                activations.tensor = answer[2]
                again = [] if doubt is None else np.flatnonzero(doubt.needs_recheck(scores)).tolist()
                for place in again:
                    scores[place], features[place], activations.owned[place] = self._classify_fp32(
                        pictures[place]
                    )
            else:  # nearly all of them would be asked again
                answers = [self._classify_fp32(picture) for picture in pictures]
                scores, features = (np.stack(part) for part in list(zip(*answers, strict=True))[:2])
                activations.owned.update(enumerate(answer[2] for answer in answers))
                doubt.needs_recheck(scores)
        return Classification(scores, features, activations)

    def _classify_fp32(self, picture: NDArray[np.uint8]) -> tuple[np.float32, NDArray[np.float32], Any]:
        """Score, features (c,) and activations of one picture in single precision, copied."""
        score, features, activations = self._fp32(picture[None])
        return np.float32(np.asarray(score)[0]), np.array(features, np.float32)[0], np.array(activations)


def _seconds(run: GraphFunction, pictures: NDArray[np.uint8]) -> float:
    """How long one run takes, until its scores are there."""
    began = time.perf_counter()
    np.asarray(run(pictures)[0])
    return time.perf_counter() - began


def _heat(answer: Sequence[Any]) -> tuple[Heatmap, float]:
    heat, strength = answer
    return np.array(heat, np.float32)[0], float(np.asarray(strength)[0])


def _concatenate(answers: Iterable[Classification]) -> Classification:
    """The answers to several batches as one; what a batch handed out is taken before the next is judged."""
    parts = [(answer.scores, answer.features, answer.activations[:]) for answer in answers]
    scores, features, activations = zip(*parts, strict=True)
    kept = [part for batch in activations for part in batch]
    return Classification(np.concatenate(scores), np.concatenate(features), kept)


def split_batch(costs: Mapping[int, float], count: int) -> tuple[int, ...]:
    """Sizes of the passes in which `count` (0 or more) pictures cost least, largest first.

    `costs` are those of a pass of each size, above 0, in any unit. The last pass may have places to spare:
    where a pass costs the same however full it is, as on a large GPU, filling one up is cheaper than two,
    while a processor takes as long for each picture.
    """
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for pictures in range(1, count + 1):
        options = ((size, cost, best[max(0, pictures - size)]) for size, cost in costs.items())
        best.append(min((cost + rest, (size, *passes)) for size, cost, (rest, passes) in options))
    return tuple(sorted(best[count][1], reverse=True))
