"""The article's speed table: every method on the same image and network, next to the literal function.

    rows = run(model, layer="act_last", name="dagm-class1")

All times are medians of one run on one machine; only their ratios can be compared elsewhere.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.explain.explainer import Explainer
from monitor.explain.instrumented import InstrumentedModel

Array = NDArray[np.float32]


Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class CamTiming:
    """One line of the table.

    `milliseconds` is the median time of one image, classification included. `to_grad_cam` and `to_literal`
    are that over the times of Grad-CAM and of the literal six steps with the same N, `to_limit` over the
    time of the forward passes that the method needs, in one traced batch (or chunks); None where
    there is no comparison.
    """

    method: str
    network: str
    milliseconds: float
    to_grad_cam: float | None
    to_literal: float | None
    to_limit: float | None


def run(
    model: Any,
    layer: str,
    name: str,
    *,
    max_n: int = 10,
    whole: bool = True,
    repeats: int = 7,
    peers: bool = True,
) -> list[CamTiming]:
    """Measure `model` (a Keras classifier), called `name`, explained at `layer`, on one image of noise.

    `whole` adds Score-CAM over all maps, which takes minutes with VGG16, and is repeated fewer times.
    `peers` adds tf-keras-vis and xplique where they are installed.
    """
    explainer = Explainer(model, layer)
    network = explainer.network
    shape = tuple(int(length or 224) for length in network.shape)
    x = np.random.default_rng(0).normal(0, 40, (1, *shape)).astype(np.float32)
    cases: dict[str, Work] = {
        "forward pass, traced": _passes(network, x, 1, 1),
        "model.predict": lambda: model.predict(x, verbose=0),
        "grad-cam": lambda: explainer.explain(x, 0, "grad-cam"),
        "grad-cam++": lambda: explainer.explain(x, 0, "grad-cam++"),
        "guided-backprop": lambda: explainer.explain(x, 0, "guided-backprop"),
        f"{max_n} forward passes, one batch": _passes(network, x, max_n, max_n),
        f"faster-score-cam N={max_n}": lambda: explainer.explain(x, 0, max_n=max_n),
        f"faster-score-cam N={max_n}, literal": lambda: reference_faster_score_cam(model, layer, x, max_n),
    }
    if peers:
        cases |= dict(_peers(model, layer, x, max_n))
    times = measure(cases, repeats)
    if whole:
        channels, chunk = network.channels, explainer.chunk_for(shape)
        slow: dict[str, Work] = {
            f"{channels} forward passes, in chunks": _passes(network, x, channels, chunk),
            "score-cam": lambda: explainer.explain(x, 0, "score-cam"),
            "score-cam, literal": lambda: reference_faster_score_cam(model, layer, x, channels),
        }
        times |= measure(slow, max(1, repeats // 3))
    literals = {"score-cam": "score-cam, literal"}
    limits = {"score-cam": f"{network.channels} forward passes, in chunks"}
    literals[f"faster-score-cam N={max_n}"] = f"faster-score-cam N={max_n}, literal"
    limits[f"faster-score-cam N={max_n}"] = f"{max_n} forward passes, one batch"
    return [
        CamTiming(
            method,
            name,
            1000 * seconds,
            seconds / times["grad-cam"],
            seconds / times[literals[method]] if method in literals else None,
            seconds / times[limits[method]] if method in limits else None,
        )
        for method, seconds in times.items()
    ]


def vgg16() -> tuple[Any, str, str]:
    """Return VGG16 with random weights, sufficient for timing: the model, its layer, its name."""
    return keras.applications.VGG16(weights=None), "block5_conv3", "VGG16"


def measure(cases: dict[str, Work], repeats: int) -> dict[str, float]:
    """Return the median seconds of each, measured in turn, so that a busy moment affects all alike."""
    for work in cases.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, work in cases.items():
            started_at = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started_at)
    return {name: float(np.median(durations)) for name, durations in times.items()}


def reference_faster_score_cam(model: Any, layer: str, x: Array, max_n: int) -> Array:
    """Run the six steps as in the article, with `model.predict`, for one input (1, h, w, d).

    It is here for its time, and builds a model at each call because the article does.
    """
    target = int(np.argmax(model.predict(x, verbose=0)))
    maps = keras.Model(model.input, model.get_layer(layer).output).predict(x, verbose=0)[0]
    if max_n < maps.shape[-1]:
        deviations = [np.std(maps[:, :, k]) for k in range(maps.shape[-1])]
        maps = maps[:, :, np.argsort(deviations)[::-1][:max_n]]
    masked = []
    for k in range(maps.shape[-1]):
        mask = cv2.resize(maps[:, :, k], (x.shape[2], x.shape[1]), interpolation=cv2.INTER_LINEAR)
        span = mask.max() - mask.min()
        masked.append(x[0] * (mask / span if span else mask)[..., None])
    outputs = model.predict(np.stack(masked), verbose=0)
    exponents = np.exp(outputs)
    weights = (exponents / exponents.sum(axis=1, keepdims=True))[:, target]
    heat = np.maximum(maps @ weights, 0)
    return np.asarray(heat / heat.max(), np.float32)


def _passes(network: InstrumentedModel, x: Array, count: int, chunk: int) -> Work:
    """Run `count` forward passes in batches of `chunk`, with one trace for each size of batch."""
    run = tf.function(lambda images: network.forward(images)[1])
    batches = [
        tf.constant(np.repeat(x, min(chunk, count - start), axis=0)) for start in range(0, count, chunk)
    ]
    return lambda: [run(batch).numpy() for batch in batches]


def _peers(model: Any, layer: str, x: Array, max_n: int) -> Iterator[tuple[str, Work]]:
    """Yield the same work by other libraries, where they are installed with all that they import."""
    with suppress(ImportError):
        modifiers = import_module("tf_keras_vis.utils.model_modifiers")
        score = import_module("tf_keras_vis.utils.scores").CategoricalScore([0])
        peer = import_module("tf_keras_vis.scorecam").Scorecam(model, modifiers.ReplaceToLinear(), clone=True)
        yield (
            f"tf-keras-vis faster-score-cam N={max_n}",
            lambda: peer(score, x, penultimate_layer=layer, max_N=max_n),
        )
    with suppress(ImportError):
        other = import_module("xplique.attributions").GradCAM(model, conv_layer=layer)
        labels = keras.utils.to_categorical([0], model.output_shape[-1])
        yield "xplique grad-cam", lambda: other(x, labels)
