"""Build the TensorFlow function of each method family: from a batch to heat, class and score."""

from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from monitor.explain.gradients import guided_gradients, saliency
from monitor.explain.instrumented import InstrumentedModel
from monitor.explain.score_cam import Scoring, WeightedMaps, all_finite, map_std, scale_heat, weigh_maps

MapRanking = Literal["deviation", "gradient"]


CHOICES: tuple[MapRanking, ...] = ("deviation", "gradient")


GradientOf = Literal["logit", "probability"]
"""What the gradient CAMs differentiate: the class's score before softmax or sigmoid, or after it."""


GRADIENTS: tuple[GradientOf, ...] = ("logit", "probability")


HeatmapFunction = Callable[
    [tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
]
"""(x, targets) to heat (b, rows, columns), strength (b,), classes (b,), logits and activations."""


TracedOutput = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
"""Heat (b, rows, columns), strength (b,), classes (b,), score (b,) and whether all are finite (b,)."""


def with_class_score(
    network: InstrumentedModel, heat_of: HeatmapFunction
) -> Callable[[tf.Tensor, tf.Tensor], TracedOutput]:
    """Add the class probability to `heat_of`; heat is zero where a value is not finite."""

    def run(x: tf.Tensor, targets: tf.Tensor) -> TracedOutput:
        heat, strength, classes, logits, activations = heat_of(x, targets)
        score = tf.gather(network.probabilities(logits), classes, batch_dims=1)
        # A ReLU can turn NaN into 0, so both inputs and outputs are checked.
        finite = tf.math.is_finite(score) & all_finite(x) & all_finite(activations)
        heat = tf.where(finite[:, None, None], heat, 0.0)
        return heat, tf.where(finite, strength, 0.0), classes, score, finite

    return run


def gradient_cam(
    network: InstrumentedModel,
    cam: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    gradient_of: GradientOf = "logit",
) -> HeatmapFunction:
    """Return the function of `cam`, which maps activations and their gradients to heat."""

    def heat_of(x: tf.Tensor, targets: tf.Tensor) -> TracedOutput:
        activations, logits, classes, gradients = _with_gradients(network, x, targets, gradient_of)
        return *scale_heat(cam(activations, gradients)), classes, logits, activations

    return heat_of


def score_based_cam(
    network: InstrumentedModel,
    *,
    max_n: int | None,
    scoring: Scoring,
    choice: MapRanking,
    chunk: int | None,
    background: tf.Tensor | None,
) -> HeatmapFunction:
    """Return the function of Score-CAM with the `max_n` maps that rank highest by `choice`, or all."""
    weigh = map_weights(
        network, max_n=max_n, scoring=scoring, choice=choice, chunk=chunk, background=background
    )

    def heat_of(x: tf.Tensor, targets: tf.Tensor) -> TracedOutput:
        weighted, classes, logits, activations = weigh(x, targets)
        return *weighted.heat(), classes, logits, activations

    return heat_of


def map_weights(
    network: InstrumentedModel,
    *,
    max_n: int | None,
    scoring: Scoring,
    choice: MapRanking,
    chunk: int | None,
    background: tf.Tensor | None,
) -> Callable[[tf.Tensor, tf.Tensor], tuple[WeightedMaps, tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Return the function from (x, targets) to Score-CAM's maps and weights, classes, logits, activations."""
    values = network.probabilities if scoring == "paper" else network.outputs

    def weigh(x: tf.Tensor, targets: tf.Tensor) -> tuple[WeightedMaps, tf.Tensor, tf.Tensor, tf.Tensor]:
        if choice == "gradient" and max_n is not None:
            activations, logits, classes, gradients = _with_gradients(network, x, targets)
            rank = map_std(activations) * tf.reduce_mean(gradients, axis=[1, 2])
        else:
            activations, logits = network.forward(x)
            classes, rank = _classes(network, logits, targets), None
        weighted = weigh_maps(
            lambda masked: values(network.forward(masked)[1]),
            x,
            activations,
            classes,
            max_n=max_n,
            scoring=scoring,
            chunk=chunk,
            rank=rank,
            background=background if scoring == "paper" else None,
        )
        return weighted, classes, logits, activations

    return weigh


def guided_backprop(network: InstrumentedModel, guided: InstrumentedModel) -> HeatmapFunction:
    """Return guided backpropagation, at the input's size; `guided` is the copy with guided ReLUs."""

    def heat_of(x: tf.Tensor, targets: tf.Tensor) -> TracedOutput:
        activations, logits = network.forward(x)
        classes = _classes(network, logits, targets)
        fine = saliency(guided_gradients(guided, x, classes))
        return *scale_heat(fine), classes, logits, activations

    return heat_of


def _with_gradients(
    network: InstrumentedModel, x: tf.Tensor, targets: tf.Tensor, gradient_of: GradientOf = "logit"
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return activations, logits, classes, and the gradient of the class scores by the activations."""
    score_of = network.class_logits if gradient_of == "logit" else network.probabilities
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        activations, logits = network.forward(x, tape.watch)
        classes = _classes(network, logits, targets)
        score = tf.gather(score_of(logits), classes, batch_dims=1)
    gradients = tf.cast(tape.gradient(score, activations), tf.float32)
    return tf.cast(activations, tf.float32), logits, classes, gradients


def _classes(network: InstrumentedModel, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the class of each image: its target, or the predicted class where that is -1."""
    predicted = tf.argmax(network.class_logits(logits), axis=-1, output_type=tf.int32)
    return tf.where(targets < 0, predicted, targets)
