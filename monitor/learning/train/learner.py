"""The network while it learns: one step, a judgement, and the parts that a later run needs to go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.learning.train.architecture import CAM_LAYER
from monitor.learning.train.recipe import Recipe
from monitor.models.card import ModelCard
from monitor.models.preprocessing import preprocess_tf

MASK_BALANCE = 4.0
"""Cells on a defect are few: each weighs as much as this many others in the mask loss."""


EXPLAINED_MAPS = 10
"""How many maps an explanation weighs unless told otherwise."""


class Learner:
    """`model` (a `keras.Model` of `truncated_resnet50`) learning by `recipe` for `steps` steps in all.

    `card` tells how pictures are prepared. For the mask loss one more convolution reads the defect's pixels
    from the explained layer; it is no part of `model`.
    """

    def __init__(self, model: Any, card: ModelCard, recipe: Recipe, steps: int, defect_weight: float) -> None:
        self.model = model
        self._card = card
        self._mask_weight = recipe.mask_weight
        self._defect_weight = defect_weight
        self._batch_norms = [
            layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self._set_momentum(recipe.batch_norm_momentum)
        features = model.get_layer(CAM_LAYER).output
        mask_head = keras.layers.Conv2D(1, 1, name="mask_head")(features)
        self._both = keras.Model(model.input, [model.output, mask_head, features])
        self._heads = keras.Model(model.input, [features, model.output])
        rate: Any = recipe.learning_rate
        if recipe.schedule == "cosine":
            warm = min(20, steps // 4)
            rate = keras.optimizers.schedules.CosineDecay(
                0.0, max(steps - warm, 1), warmup_target=recipe.learning_rate, warmup_steps=warm
            )
        self._optimizer = keras.optimizers.Adam(rate, amsgrad=recipe.amsgrad)
        self._optimizer.build(self._both.trainable_variables)
        self._step = tf.function(self._learn, reduce_retracing=True)
        self._judge = tf.function(self._answer, reduce_retracing=True)

    def train_step(self, pictures: Any, labels: Any, targets: Any) -> float:
        """Learn from one batch of `PictureStream`; the loss of the labels before the step."""
        with _bfloat16_allowed():
            return float(self._step(pictures, labels, targets))

    def predict(self, batches: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scores (n,), 0..1, and averages of the explained layer (n, c) of all pictures in `batches`."""
        answers = [self._judge(pictures) for pictures, _, _ in batches]
        return (
            np.concatenate([scores.numpy() for scores, _ in answers]),
            np.concatenate([features.numpy() for _, features in answers]),
        )

    def loss(self, scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
        """Mean cross-entropy of `scores` (n,), defects weighed as in training."""
        right = np.where(labels, scores, 1 - scores).clip(1e-7, 1)
        return float(np.mean(-np.log(right) * np.where(labels, self._defect_weight, 1.0)))

    def recalibrate(self, batches: Any) -> None:
        """Set the batch norms' statistics to their mean over `batches`, with the weights as they are now.

        The running statistics that training leaves are of weights that have since moved on.
        """
        kept = self._batch_norms[0].momentum
        self._set_momentum(0.0)  # a step then leaves its own batch's statistics, nothing else
        look = tf.function(lambda pictures: self.model(self._prepared(pictures), training=True))
        sums: list[NDArray[np.float64]] = []
        count = 0
        for pictures, _, _ in batches:
            look(pictures)
            now = [
                value.numpy().astype(np.float64)
                for layer in self._batch_norms
                for value in layer.non_trainable_variables
            ]
            sums = [total + value for total, value in zip(sums, now, strict=True)] if sums else now
            count += 1
        means = iter(total / count for total in sums)
        for layer in self._batch_norms:
            for variable in layer.non_trainable_variables:
                variable.assign(next(means).astype(np.float32))
        self._set_momentum(kept)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All that the next step depends on, by position."""
        return {str(index): np.asarray(value) for index, value in enumerate(self._variables())}

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Go back to what `arrays` gave; raises ValueError if they are of another network or recipe."""
        variables = self._variables()
        if len(arrays) != len(variables):
            raise ValueError(f"{len(arrays)} arrays for {len(variables)} variables")
        for index, variable in enumerate(variables):
            variable.assign(arrays[str(index)])

    def _variables(self) -> list[Any]:
        return [*self._both.variables, *self._optimizer.variables]

    def _set_momentum(self, momentum: float) -> None:
        for layer in self._batch_norms:
            layer.momentum = momentum

    def _prepared(self, pictures: Any) -> Any:
        return preprocess_tf(self._card, pictures)

    def _learn(self, pictures: Any, labels: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            probabilities, drawn, features = self._both(self._prepared(pictures), training=True)
            weights = tf.where(labels == 1, self._defect_weight, 1.0)
            entropy = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
            label_loss = tf.reduce_mean(weights * tf.cast(entropy, tf.float32))
            place_loss = mask_loss(tf.cast(drawn[..., 0], tf.float32), targets)
            place_loss += heat_loss(tf.cast(features, tf.float32), targets)
            loss = label_loss + self._mask_weight * place_loss
        variables = self._both.trainable_variables
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return label_loss

    def _answer(self, pictures: Any) -> tuple[Any, Any]:
        activations, probabilities = self._heads(self._prepared(pictures), training=False)
        return probabilities[:, self._card.defect_class], tf.reduce_mean(activations, axis=(1, 2))


def mask_loss(logits: Any, targets: Any) -> Any:
    """Cross-entropy of each cell's (b, fh, fw) logit with its target; cells of target -1 do not count."""
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.maximum(targets, 0.0), logits)
    weights = tf.where(targets > 0.5, MASK_BALANCE, tf.where(targets >= 0, 1.0, 0.0))
    return tf.reduce_mean(weights * entropy)


def heat_loss(activations: Any, targets: Any) -> Any:
    """How far the maps that Faster-Score-CAM weighs lie from the mask: 0..1, Dice's coefficient from one.

    Of `activations` (b, fh, fw, c) it weighs those of highest standard deviation; with equal weights their
    sum, scaled to one, is the heat. Counts pictures with a defect at a known place, `targets` (b, fh, fw).
    """
    maps = tf.transpose(activations, (0, 3, 1, 2))
    _, varied = tf.math.top_k(tf.math.reduce_std(maps, axis=(2, 3)), EXPLAINED_MAPS)
    summed = tf.reduce_sum(tf.gather(maps, varied, batch_dims=1), axis=1)
    peak = tf.stop_gradient(tf.reduce_max(summed, axis=(1, 2), keepdims=True))
    heat = tf.math.divide_no_nan(summed, peak)
    known = tf.cast(tf.reduce_max(targets, axis=(1, 2)) > 0.5, tf.float32)
    shared = tf.reduce_sum(heat * targets, axis=(1, 2))
    both = tf.reduce_sum(tf.square(heat), axis=(1, 2)) + tf.reduce_sum(tf.square(targets), axis=(1, 2))
    dice = 2 * shared / (both + 1e-6)
    return tf.math.divide_no_nan(tf.reduce_sum(known * (1 - dice)), tf.reduce_sum(known))


@contextmanager
def _bfloat16_allowed() -> Iterator[None]:
    """Let oneDNN multiply in bfloat16 where the processor can; variables and sums stay float32.

    Nearly twice as fast. Only while learning: verdicts are computed as the daemon computes them.
    """
    option = "auto_mixed_precision_onednn_bfloat16"
    tf.config.optimizer.set_experimental_options({option: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: False})
