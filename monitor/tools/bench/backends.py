"""What the network costs a frame on each installed backend, in each precision, beside plain TensorFlow.

All take turns in one run; only ratios mean anything on another machine.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from monitor.inference.backends.base import Backend, is_installed
from monitor.inference.backends.openvino import OpenVinoBackend
from monitor.inference.backends.tensorflow import TensorFlowBackend
from monitor.inference.candidates import available_backends
from monitor.inference.device import ComputeDevice
from monitor.inference.graphs import build_model_graphs, build_screening
from monitor.inference.network import Network
from monitor.inference.precision import Precision
from monitor.models.bundle import ModelBundle
from monitor.models.preprocessing import preprocess_tf

BATCHES = (1, 4, 8)


Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class BackendTiming:
    """One line: milliseconds a frame (an explanation where `what` says so), median and quartiles.

    `to_best` is the median over that of the fastest in single precision at the same batch, or, of an
    explanation, over as many forward passes in one batch on the same backend in the same precision.
    """

    what: str
    precision: str
    batch: int
    milliseconds: float
    lower: float
    upper: float
    to_best: float


def run(bundle: ModelBundle, *, rounds: int = 30, max_n: int = 10) -> list[BackendTiming]:
    """Measure the network of `bundle` on this machine's CPU; images are noise of its size."""
    size = bundle.card.input_size
    images = np.random.default_rng(0).integers(0, 256, (max(*BATCHES, max_n), *size, 3), np.uint8)
    works: dict[tuple[str, str, int], Work] = {}
    for name, function in _plain_tensorflow(bundle):
        for batch in BATCHES:
            works[name, "fp32", batch] = partial(function, tf.constant(images[:batch]))
    explained: dict[tuple[str, str], None] = {}
    with TemporaryDirectory(prefix="defect-monitor-bench-") as folder:
        for name, precision, backend, path in _ours(bundle, Path(folder)):
            for batch in BATCHES:
                graph = "screen" if precision == "screened" else "classify"
                classify = backend.compile(path, graph, batch=batch, precision=precision)
                works[name, precision, batch] = partial(_scores, classify, images[:batch])
            if precision == "screened":  # which explains in fp32
                continue
            explained[name, precision] = None
            works |= _explanations(name, precision, backend, path=path, images=images, max_n=max_n)
        times = _measure(works, rounds)
    return [*_classified(times), *_explained(times, explained, max_n)]


def _plain_tensorflow(bundle: ModelBundle) -> Iterator[tuple[str, Callable[[Any], object]]]:
    """Yield TensorFlow as one would write it: traced, and compiled by XLA; both from uint8 to scores."""
    card, model = bundle.card, bundle.keras_model()
    both = keras.Model(model.inputs, [model.get_layer(card.cam_layer).output, model.output])

    def forward(images: Any) -> Any:
        activations, probabilities = both(preprocess_tf(card, images), training=False)
        return probabilities, tf.reduce_mean(activations, axis=(1, 2)), activations

    plain = tf.function(forward)
    yield "TensorFlow, traced", lambda images: plain(images)[0].numpy()
    compiled = tf.function(forward, jit_compile=True)
    yield "TensorFlow, XLA", lambda images: compiled(images)[0].numpy()


def _ours(bundle: ModelBundle, folder: Path) -> Iterator[tuple[str, Precision, Backend, Path]]:
    """Yield every backend and precision of this machine, the graphs of `bundle` written under `folder`."""
    model, scoring = bundle.keras_model(), bundle.card.localisation.scoring
    screening = bundle.screening
    choices = [*available_backends("cpu")]
    if screening is not None and is_installed("openvino"):
        choices.append(("openvino", "screened"))
    for name, precision in sorted(choices, reverse=True):
        backend: Backend = OpenVinoBackend() if name == "openvino" else TensorFlowBackend()
        mixed = name == "tensorflow" and precision == "bf16"
        graphs = dict(
            build_model_graphs(
                bundle.card,
                model,
                step=1,
                scoring=scoring,
                policy="mixed_bfloat16" if mixed else "float32",
            )
        )
        graphs["classify_fp32"] = graphs["classify"]  # of no account here
        if precision == "screened" and screening is not None:
            graphs = {"screen": build_screening(model, screening, partial(preprocess_tf, bundle.card))}
        path = folder / f"{name}-{precision}"
        path.mkdir()
        backend.export(graphs, path)
        yield f"ours: {name}", precision, backend, path


def _explanations(
    name: str, precision: Precision, backend: Backend, *, path: Path, images: Any, max_n: int
) -> Mapping[tuple[str, str, int], Work]:
    """Faster-Score-CAM after the classification, and the forward passes that it cannot do without."""
    device = ComputeDevice("cpu", "/CPU:0", "CPU", precision, backend.name)
    network = Network(
        backend, path, device=device, size=images.shape[1:3], batch=1, threshold=0.0, max_n=max_n
    )
    activations = network.classify(images[:1]).activations[0]
    passes = backend.compile(path, "classify", batch=max_n, precision=precision)
    return {
        (_passes(name), precision, max_n): partial(_scores, passes, images[:max_n]),
        (_steps(name), precision, 1): partial(network.explain, images[0], activations),
    }


def _passes(name: str) -> str:
    return f"{name}, forward passes of one batch"


def _steps(name: str) -> str:
    return f"{name}, explanation map by map"


def _scores(run: Callable[..., Any], images: Any) -> Any:
    return np.asarray(run(images)[0])


def _measure(cases: Mapping[tuple[str, str, int], Work], rounds: int) -> Mapping[tuple[str, str, int], Any]:
    """Time each, in turns so that a busy moment of the machine affects all: seconds (rounds,)."""
    for work in cases.values():
        work()
        work()
    taken = np.zeros((len(cases), rounds))
    for number in range(rounds):
        for place, work in enumerate(cases.values()):
            began = time.perf_counter()
            work()
            taken[place, number] = time.perf_counter() - began
    return dict(zip(cases, taken, strict=True))


def _classified(times: Mapping[tuple[str, str, int], Any]) -> Iterator[BackendTiming]:
    plain = {
        key: value for key, value in times.items() if "explanation" not in key[0] and "passes" not in key[0]
    }
    for batch in BATCHES:
        best = min(np.median(value) for key, value in plain.items() if key[1:] == ("fp32", batch))
        for key, value in plain.items():
            if key[2] == batch:
                yield _row(key, 1000 * value / batch, float(np.median(value) / best))


def _explained(
    times: Mapping[tuple[str, str, int], Any], explained: Mapping[tuple[str, str], None], max_n: int
) -> Iterator[BackendTiming]:
    for name, precision in explained:
        passes = _passes(name), precision, max_n
        for key in (passes, (_steps(name), precision, 1)):
            if key in times:
                ratio = float(np.median(times[key]) / np.median(times[passes]))
                yield _row(key, 1000 * times[key], ratio)


def _row(key: tuple[str, str, int], milliseconds: Any, to_best: float) -> BackendTiming:
    lower, middle, upper = np.percentile(milliseconds, [25, 50, 75])
    return BackendTiming(*key, float(middle), float(lower), float(upper), to_best)
