"""What the network costs a frame on each runtime that is installed, in each precision, beside what is usual.

All runtimes take turns in one run; only ratios mean anything elsewhere.
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
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from monitor.inference.backends.base import GRAPHS, Backend, export_graphs, is_installed
from monitor.inference.backends.onnx import OnnxRuntime
from monitor.inference.backends.openvino import OpenVinoBackend
from monitor.inference.backends.tensorflow import TensorFlowBackend
from monitor.inference.candidates import available_backends
from monitor.inference.device import ComputeDevice
from monitor.inference.graphs import build_model_graphs
from monitor.inference.local import LocalModel
from monitor.inference.precision import Precision
from monitor.models.bundle import ModelBundle
from monitor.models.preprocessing import preprocess_tf

BATCHES = (1, 4, 8)


Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class BackendTiming:
    """One line: milliseconds a frame (an explanation where `what` says so), median and quartiles.

    `to_best` is the median over that of the fastest in single precision at the same batch, or, of an
    explanation, over as many forward passes in one batch on the same runtime in the same precision.
    """

    what: str
    precision: str
    batch: int
    milliseconds: float
    lower: float
    upper: float
    to_best: float


def run(bundle: ModelBundle, *, rounds: int = 30, max_n: int = 10) -> list[BackendTiming]:
    """Measure the network of `bundle` on this machine's CPU; pictures are noise of its size."""
    size = bundle.card.input_size
    pictures = np.random.default_rng(0).integers(0, 256, (max(*BATCHES, max_n), *size, 3), np.uint8)
    works: dict[tuple[str, str, int], Work] = {}
    for name, function in _usual(bundle, pictures):
        for batch in BATCHES:
            works[name, "fp32", batch] = partial(function, tf.constant(pictures[:batch]))
    explained: dict[tuple[str, str], None] = {}
    with TemporaryDirectory(prefix="defect-monitor-bench-") as folder:
        for name, precision, runtime, path in _ours(bundle, Path(folder), max_n):
            for batch in BATCHES:
                load = runtime.compile(path / "classify", GRAPHS["classify"], batch, precision)
                works[name, precision, batch] = partial(_scores, load, pictures[:batch])
            explained[name, precision] = None
            works |= _explanations(name, precision, runtime, path=path, pictures=pictures, max_n=max_n)
        times = _measure(works, rounds)
    return [*_classified(times), *_explained(times, explained, max_n)]


def _usual(bundle: ModelBundle, pictures: Any) -> Iterator[tuple[str, Callable[[Any], object]]]:
    """TensorFlow as one would write it: traced, compiled by XLA, frozen; all from uint8 to scores."""
    card, model = bundle.card, bundle.keras_model()
    both = keras.Model(model.inputs, [model.get_layer(card.cam_layer).output, model.output])

    def forward(images: Any) -> Any:
        activations, probabilities = both(preprocess_tf(card, images), training=False)
        return probabilities, tf.reduce_mean(activations, axis=(1, 2)), activations

    plain = tf.function(forward)
    yield "TensorFlow, traced", lambda images: plain(images)[0].numpy()
    compiled = tf.function(forward, jit_compile=True)
    yield "TensorFlow, XLA", lambda images: compiled(images)[0].numpy()
    frozen = {
        batch: convert_variables_to_constants_v2(plain.get_concrete_function(tf.constant(pictures[:batch])))
        for batch in BATCHES
    }
    yield "TensorFlow, frozen", lambda images: frozen[len(images)](images)[0].numpy()


def _ours(bundle: ModelBundle, folder: Path, max_n: int) -> Iterator[tuple[str, Precision, Backend, Path]]:
    """Every way that this machine has for `bundle`, its graphs written under `folder`."""
    scoring = bundle.card.localisation.scoring
    graphs = build_model_graphs(
        bundle.card, bundle.keras_model(), max_n=max_n, step=1, scoring=scoring, whole=True
    )
    runtimes: list[Backend] = [TensorFlowBackend()]
    if is_installed("openvino"):
        runtimes.append(OpenVinoBackend())
    if is_installed("onnxruntime"):
        runtimes.append(OnnxRuntime())
    possible = set(available_backends("cpu"))
    for runtime in runtimes:
        for precision in ("fp32", "bf16"):
            if (runtime.name, precision) not in possible:
                continue
            path = folder / f"{runtime.name}-{precision}"
            path.mkdir()
            export_graphs(runtime, graphs, path, precision)
            yield f"ours: {runtime.name}", precision, runtime, path


def _explanations(
    name: str, precision: Precision, runtime: Backend, *, path: Path, pictures: Any, max_n: int
) -> Mapping[tuple[str, str, int], Work]:
    """Faster-Score-CAM after the classification, and the forward passes it cannot do without."""
    device = ComputeDevice("cpu", "/CPU:0", "CPU", precision, runtime.name)
    # OpenVINO 2026.4 fails with a segmentation fault over the whole graph in bfloat16.
    whole = runtime.name != "openvino" or precision == "fp32"
    classifier = LocalModel(
        runtime, path, device=device, size=pictures.shape[1:3], batch=1, single_batch=whole
    )
    kept = classifier.classify(pictures[:1]).activations[0]
    passes = runtime.compile(path / "classify", GRAPHS["classify"], max_n, precision)
    works: dict[tuple[str, str, int], Work] = {
        (_passes(name), precision, max_n): partial(_scores, passes, pictures[:max_n]),
        (_steps(name), precision, 1): partial(classifier.explain, pictures[0], kept),
    }
    if whole:
        works[_whole(name), precision, max_n] = partial(classifier.explain_single_batch, pictures[0], kept)
    return works


def _passes(name: str) -> str:
    return f"{name}, forward passes of one batch"


def _steps(name: str) -> str:
    return f"{name}, explanation map by map"


def _whole(name: str) -> str:
    return f"{name}, explanation in one batch"


def _scores(run: Callable[..., Any], pictures: Any) -> Any:
    return np.asarray(run(pictures)[0])


def _measure(cases: Mapping[tuple[str, str, int], Work], rounds: int) -> Mapping[tuple[str, str, int], Any]:
    """Seconds (rounds,) of each, taken in turns so that a busy moment of the machine meets all alike."""
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
        for key in (passes, (_whole(name), precision, max_n), (_steps(name), precision, 1)):
            if key in times:
                ratio = float(np.median(times[key]) / np.median(times[passes]))
                yield _row(key, 1000 * times[key], ratio)


def _row(key: tuple[str, str, int], milliseconds: Any, to_best: float) -> BackendTiming:
    lower, middle, upper = np.percentile(milliseconds, [25, 50, 75])
    return BackendTiming(*key, float(middle), float(lower), float(upper), to_best)
