"""The network as the daemon runs it: traced once for fixed batch sizes, frozen, warmed up.

Two graphs: one classifies a batch and hands out the activations of the explained layer; the other
explains one flagged picture from those activations, without leaving TensorFlow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from monitor.classify.device import Device
from monitor.explain.score_cam import Scoring, score_cam
from monitor.records import Heat

Graph = Callable[..., Any]

_FEWER = (5, 2)
"""Numbers of maps to fall back to where time is short; see the README for what they lose."""


@dataclass(frozen=True, slots=True, eq=False)
class Classified:
    """The network's answer to a batch of b pictures.

    `scores` (b,) float32, probability of a defect, 0..1. `features` (b, c) float32, the activations
    averaged over space. `activations` b tensors (1, fh, fw, c), left where the device has them.
    """

    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    activations: list[Any]


class Classifier:
    """A Keras classifier made ready for one device.

    `model` ends in probabilities (n, classes); `layer` names the 4-D layer that is explained;
    `defect_index` is the class whose score counts; `prepare` maps uint8 pictures (n, h, w, 3) in
    blue-green-red to the network's input; `batch` is the largest batch. `max_n` is how many maps an
    explanation weighs at most; `ladder` are the numbers, falling, that a graph stands ready for.
    """

    def __init__(
        self,
        model: Any,
        *,
        layer: str,
        defect_index: int,
        prepare: Callable[[Any], Any],
        size: tuple[int, int],
        device: Device,
        batch: int = 8,
        max_n: int = 10,
        scoring: Scoring = "seed",
    ) -> None:
        if device.precision == "mixed-float16":
            model = _in_mixed_float16(model)
        both = tf.keras.Model(model.inputs, [model.get_layer(layer).output, model.output])
        self._size = size
        self._device = device

        def classify(pictures: Any) -> tuple[Any, Any, Any]:
            activations, probabilities = both(prepare(pictures), training=False)
            activations = tf.cast(activations, tf.float32)
            features = tf.reduce_mean(activations, axis=(1, 2))
            return tf.cast(probabilities[:, defect_index], tf.float32), features, activations

        def explain(pictures: Any, activations: Any, *, max_n: int) -> Any:
            return score_cam(
                lambda inputs: tf.cast(model(inputs, training=False), tf.float32),
                prepare(pictures),
                activations,
                tf.fill([1], defect_index),
                max_n=max_n,
                scoring=scoring,
                chunk=None,
            )

        sizes = sorted({*(2**power for power in range(batch.bit_length())), batch})
        self._classify = {count: self._ready(classify, self._pictures(count)) for count in sizes}
        (rows, columns, channels) = both.outputs[0].shape[1:]
        maps = tf.TensorSpec((1, rows, columns, channels), tf.float32)
        self.ladder = rungs(max_n)
        self._explain = {
            rung: self._ready(partial(explain, max_n=rung), self._pictures(1), maps) for rung in self.ladder
        }
        self.batch = batch

    def classify(self, pictures: NDArray[np.uint8]) -> Classified:
        """Judge (b, h, w, 3) uint8 pictures at the network's size; any b ≥ 1."""
        answers = [
            self._classify_batch(pictures[start : start + self.batch])
            for start in range(0, len(pictures), self.batch)
        ]
        if len(answers) == 1:
            return answers[0]
        return Classified(
            np.concatenate([answer.scores for answer in answers]),
            np.concatenate([answer.features for answer in answers]),
            [tensor for answer in answers for tensor in answer.activations],
        )

    def explain(
        self, picture: NDArray[np.uint8], activations: Any, max_n: int | None = None
    ) -> tuple[Heat, float]:
        """Heat (fh, fw), 0..1, of the defect class on one (h, w, 3) picture, and its peak before scaling.

        `max_n` is one of `ladder`, by default the first; any other is a KeyError. A strength of 0 says that
        there is no evidence to show: flat, zero or not finite.
        """
        graph = self._explain[self.ladder[0] if max_n is None else max_n]
        heat, strength = graph(tf.constant(picture[None]), activations)
        return heat.numpy()[0], float(strength.numpy()[0])

    def _classify_batch(self, pictures: NDArray[np.uint8]) -> Classified:
        count = len(pictures)
        size = min(size for size in self._classify if size >= count)
        if size > count:
            pictures = np.concatenate([pictures, np.repeat(pictures[-1:], size - count, axis=0)])
        scores, features, activations = self._classify[size](tf.constant(pictures))
        return Classified(
            scores.numpy()[:count],
            features.numpy()[:count],
            [activations[index : index + 1] for index in range(count)],
        )

    def _pictures(self, count: int) -> Any:
        return tf.TensorSpec((count, *self._size, 3), tf.uint8)

    def _ready(self, function: Graph, *inputs: Any) -> Graph:
        """`function` traced for `inputs`, and run once so that no frame pays for it."""
        # XLA fuses what a GPU would launch one by one; on a CPU oneDNN's kernels are faster.
        traced = tf.function(function, jit_compile=self._device.kind == "gpu").get_concrete_function(*inputs)
        # Constants let Grappler fold batch normalisation into the convolutions.
        graph = convert_variables_to_constants_v2(traced) if self._device.kind == "cpu" else traced
        graph(*(tf.zeros(spec.shape, spec.dtype) for spec in inputs))
        return graph  # type: ignore[no-any-return]  # TensorFlow is untyped


def rungs(max_n: int) -> tuple[int, ...]:
    """Numbers of maps that explanations are ready for: `max_n`, then fewer for when time is short."""
    return (max_n, *(fewer for fewer in _FEWER if fewer < max_n))


def _in_mixed_float16(model: Any) -> Any:
    """The same network computing in float16 with float32 variables; the softmax stays in float32."""
    last = model.layers[-1].name

    def converted(layer: Any) -> Any:
        policy = "float32" if layer.name == last else "mixed_float16"
        return layer.__class__.from_config({**layer.get_config(), "dtype": policy})

    clone = tf.keras.models.clone_model(model, clone_function=converted)
    clone.set_weights(model.get_weights())
    return clone
