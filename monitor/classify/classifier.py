"""The network as the daemon runs it: traced once for fixed batch sizes, frozen, warmed up.

One graph classifies a batch and hands out the activations of the explained layer. From these a flagged
picture is explained: in steps of a few maps, between which verdicts have their turn, or as a whole.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from monitor.classify.device import Device
from monitor.classify.gate import Gate
from monitor.explain.score_cam import (
    Scoring,
    all_finite,
    class_score,
    masks,
    scale_heat,
    score_cam,
    spread,
)
from monitor.records import Heat

Graph = Callable[..., Any]

GoOn = Callable[[int, float], bool]
"""Asked before the first step and told after each: maps weighed, the step's seconds. Whether to go on."""


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
    blue-green-red to the network's input; `batch` is the largest batch. An explanation weighs `max_n` maps,
    `step` at a time: by default one on a CPU, where a step takes as long as a verdict, and all on a GPU.
    `gate` says whose turn it is at the device.
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
        step: int | None = None,
        gate: Gate | None = None,
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

        def forward(inputs: Any) -> Any:
            return tf.cast(model(inputs, training=False), tf.float32)

        (rows, columns, channels) = both.outputs[0].shape[1:]
        self.max_n = count = min(max_n, channels)
        self._step = min(count, step or (1 if device.kind == "cpu" else count))

        def choose(pictures: Any, activations: Any) -> tuple[Any, Any]:
            """The maps to weigh (count, fh, fw), leading ones first, and the network's input (1, h, w, d)."""
            inputs = tf.cast(prepare(pictures), tf.float32)
            leading = tf.math.top_k(spread(activations)[0], k=count).indices
            maps = tf.gather(tf.transpose(activations[0], [2, 0, 1]), leading)
            sound = all_finite(inputs) & all_finite(activations)
            return tf.where(sound[:, None, None], maps, 0.0), inputs

        def weigh(maps: Any, inputs: Any, start: Any) -> Any:
            """The weights of the maps from `start` on, as many as a step has."""
            chosen = tf.gather(maps, tf.minimum(start + tf.range(self._step), count - 1))
            shown = inputs * masks(chosen, tf.shape(inputs)[1:], scoring)
            return class_score(forward(shown), tf.fill([self._step], defect_index), scoring) - baseline

        def combine(maps: Any, weights: Any) -> tuple[Any, Any]:
            heat = tf.nn.relu(tf.reduce_sum(weights[:, None, None] * maps, axis=0))
            return scale_heat(heat[None])

        def explain(pictures: Any, activations: Any) -> Any:
            target = tf.fill([1], defect_index)
            return score_cam(
                forward, prepare(pictures), activations, target, max_n=max_n, scoring=scoring, chunk=None
            )

        sizes = sorted({*(2**power for power in range(batch.bit_length())), batch})
        self._classify = {size: self._ready(classify, self._pictures(size)) for size in sizes}
        kept = tf.TensorSpec((1, rows, columns, channels), tf.float32)
        maps, number = tf.TensorSpec((count, rows, columns), tf.float32), tf.TensorSpec((), tf.int32)
        inputs = tf.TensorSpec(tuple(prepare(tf.zeros((1, *size, 3), tf.uint8)).shape), tf.float32)
        baseline = float(forward(tf.zeros(inputs.shape))[0, defect_index]) if scoring == "paper" else 0.0
        self._choose = self._ready(choose, self._pictures(1), kept)
        self._weigh = self._ready(weigh, maps, inputs, number)
        self._combine = self._ready(combine, maps, tf.TensorSpec((count,), tf.float32))
        self._make_whole: Callable[[], Graph] = partial(self._ready, explain, self._pictures(1), kept)
        self._gate = gate or Gate()
        self.batch = batch

    def classify(self, pictures: NDArray[np.uint8]) -> Classified:
        """Judge (b, h, w, 3) uint8 pictures at the network's size; any b ≥ 1."""
        answers = []
        for start in range(0, len(pictures), self.batch):
            with self._gate.first():
                answers.append(self._classify_batch(pictures[start : start + self.batch]))
        if len(answers) == 1:
            return answers[0]
        return Classified(
            np.concatenate([answer.scores for answer in answers]),
            np.concatenate([answer.features for answer in answers]),
            [tensor for answer in answers for tensor in answer.activations],
        )

    def explain(
        self, picture: NDArray[np.uint8], activations: Any, go_on: GoOn = lambda _maps, _seconds: True
    ) -> tuple[Heat, float, int]:
        """Explain the defect class on one (h, w, 3) picture: heat (fh, fw), 0..1, its peak, maps weighed.

        Leading maps are weighed step by step while `go_on` says so; the heat is that of Faster-Score-CAM
        with as many maps as were weighed, its peak the one before scaling. A peak of 0 says that there is no
        evidence to show: no map was weighed, or the heat is flat, zero or not finite.
        """
        weights = np.zeros(self.max_n, np.float32)
        maps = inputs = None
        weighed, going = 0, go_on(0, 0.0)
        while going and weighed < self.max_n:
            with self._gate.after():
                began = time.monotonic()
                if maps is None:
                    maps, inputs = self._choose(tf.constant(picture[None]), activations)
                step = self._weigh(maps, inputs, tf.constant(weighed))[0].numpy()[: self.max_n - weighed]
                seconds = time.monotonic() - began
            weights[weighed : weighed + len(step)] = step
            weighed += len(step)
            going = go_on(weighed, seconds)
        if not weighed:
            return np.zeros(activations.shape[1:3], np.float32), 0.0, 0
        heat, strength = self._combine(maps, tf.constant(weights))
        return heat.numpy()[0], float(strength.numpy()[0]), weighed

    def explain_whole(self, picture: NDArray[np.uint8], activations: Any) -> tuple[Heat, float]:
        """The same heat and peak with all maps in one batch, which is quicker and holds up verdicts."""
        with self._gate.after():
            heat, strength = self._whole(tf.constant(picture[None]), activations)
        return heat.numpy()[0], float(strength.numpy()[0])

    @cached_property
    def _whole(self) -> Graph:
        return self._make_whole()

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


def _in_mixed_float16(model: Any) -> Any:
    """The same network computing in float16 with float32 variables; the softmax stays in float32."""
    last = model.layers[-1].name

    def converted(layer: Any) -> Any:
        policy = "float32" if layer.name == last else "mixed_float16"
        return layer.__class__.from_config({**layer.get_config(), "dtype": policy})

    clone = tf.keras.models.clone_model(model, clone_function=converted)
    clone.set_weights(model.get_weights())
    return clone
