"""The network during training: steps, predictions, and the state that a later run needs to continue."""

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
"""Few cells lie on a defect: in the mask loss each weighs as much as this many others."""


EXPLAINED_MAPS = 10
"""Number of feature maps that an explanation scores by default."""


class Predictor:
    """Scores images by `model`, in single precision, as its weights are then; `card` as in `Learner`."""

    def __init__(self, model: Any, card: ModelCard) -> None:
        self._card = card
        self._heads = keras.Model(model.input, [model.get_layer(CAM_LAYER).output, model.output])
        self._predict = tf.function(self._scores_and_features, reduce_retracing=True)

    def __call__(self, batches: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return scores (n,), 0..1, and means of the explained layer (n, c) of all images in `batches`."""
        answers = [self._predict(images) for images, _, _ in batches]
        return (
            np.concatenate([scores.numpy() for scores, _ in answers]),
            np.concatenate([features.numpy() for _, features in answers]),
        )

    def _scores_and_features(self, images: Any) -> tuple[Any, Any]:
        activations, probabilities = self._heads(preprocess_tf(self._card, images), training=False)
        return probabilities[:, self._card.defect_class], tf.reduce_mean(activations, axis=(1, 2))


class Learner:
    """Trains `model` (a `keras.Model` of `truncated_resnet50`) by `recipe` for `steps` steps in all.

    `card` defines the preprocessing. For the mask loss one more convolution reads the defect's cells from the
    explained layer; it is no part of `model`.
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
        self.predict = Predictor(model, card)
        rate: Any = recipe.learning_rate
        if recipe.schedule == "cosine":
            warm = min(20, steps // 4)
            rate = keras.optimizers.schedules.CosineDecay(
                0.0, max(steps - warm, 1), warmup_target=recipe.learning_rate, warmup_steps=warm
            )
        self._optimizer = keras.optimizers.Adam(rate, amsgrad=recipe.amsgrad)
        self._optimizer.build(self._both.trainable_variables)
        self._step = tf.function(self._learn, reduce_retracing=True)

    def train_step(self, images: Any, labels: Any, targets: Any) -> float:
        """Learn from one batch of `InputPipeline`; return the loss of the labels before the step."""
        with _reduced_precision():
            return float(self._step(images, labels, targets))

    def loss(self, scores: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
        """Return the mean cross-entropy of `scores` (n,), with defects weighted as in training."""
        right = np.where(labels, scores, 1 - scores).clip(1e-7, 1)
        return float(np.mean(-np.log(right) * np.where(labels, self._defect_weight, 1.0)))

    def recalibrate(self, batches: Any) -> None:
        """Set the statistics of batch normalisation to their mean over `batches`, at the current weights.

        The running statistics of training belong in part to earlier weights.
        """
        momentum = self._batch_norms[0].momentum
        self._set_momentum(0.0)  # a step then stores the statistics of its own batch alone
        update = tf.function(lambda images: self.model(self._prepared(images), training=True))
        sums: list[NDArray[np.float64]] = []
        count = 0
        for images, _, _ in batches:
            update(images)
            current = [
                value.numpy().astype(np.float64)
                for layer in self._batch_norms
                for value in layer.non_trainable_variables
            ]
            sums = [total + value for total, value in zip(sums, current, strict=True)] if sums else current
            count += 1
        means = iter(total / count for total in sums)
        for layer in self._batch_norms:
            for variable in layer.non_trainable_variables:
                variable.assign(next(means).astype(np.float32))
        self._set_momentum(momentum)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all that the next step depends on, by position."""
        return {str(index): np.asarray(value) for index, value in enumerate(self._variables())}

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Restore the state that `arrays` returned; raises ValueError for another network or recipe."""
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

    def _prepared(self, images: Any) -> Any:
        return preprocess_tf(self._card, images)

    def _learn(self, images: Any, labels: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            probabilities, mask_logits, features = self._both(self._prepared(images), training=True)
            weights = tf.where(labels == 1, self._defect_weight, 1.0)
            entropy = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
            label_loss = tf.reduce_mean(weights * tf.cast(entropy, tf.float32))
            location_loss = mask_loss(tf.cast(mask_logits[..., 0], tf.float32), targets)
            location_loss += heat_loss(tf.cast(features, tf.float32), targets)
            loss = label_loss + self._mask_weight * location_loss
        variables = self._both.trainable_variables
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return label_loss


def mask_loss(logits: Any, targets: Any) -> Any:
    """Return the cross-entropy of each cell's (b, fh, fw) logit with its target; -1 does not count."""
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.maximum(targets, 0.0), logits)
    weights = tf.where(targets > 0.5, MASK_BALANCE, tf.where(targets >= 0, 1.0, 0.0))
    return tf.reduce_mean(weights * entropy)


def heat_loss(activations: Any, targets: Any) -> Any:
    """Return how far the maps of Faster-Score-CAM lie from the mask: one minus Dice's coefficient, 0..1.

    Of `activations` (b, fh, fw, c) it takes those of highest standard deviation; their sum, scaled to one, is
    the heat. Counts images with a defect at a known place in `targets` (b, fh, fw).
    """
    maps = tf.transpose(activations, (0, 3, 1, 2))
    _, varied = tf.math.top_k(tf.math.reduce_std(maps, axis=(2, 3)), EXPLAINED_MAPS)
    summed = tf.reduce_sum(tf.gather(maps, varied, batch_dims=1), axis=1)
    peak = tf.stop_gradient(tf.reduce_max(summed, axis=(1, 2), keepdims=True))
    heat = tf.math.divide_no_nan(summed, peak)
    known = tf.cast(tf.reduce_max(targets, axis=(1, 2)) > 0.5, tf.float32)
    overlap = tf.reduce_sum(heat * targets, axis=(1, 2))
    both = tf.reduce_sum(tf.square(heat), axis=(1, 2)) + tf.reduce_sum(tf.square(targets), axis=(1, 2))
    dice = 2 * overlap / (both + 1e-6)
    return tf.math.divide_no_nan(tf.reduce_sum(known * (1 - dice)), tf.reduce_sum(known))


@contextmanager
def _reduced_precision() -> Iterator[None]:
    """Let products be rounded: to bfloat16 where the processor can, to TensorFloat-32 on a GPU.

    Nearly twice as fast on a processor; variables and sums stay float32. Only for training steps: predictions
    use the daemon's single precision.
    """
    option = "auto_mixed_precision_onednn_bfloat16"
    tensor_float = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.optimizer.set_experimental_options({option: True})
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: False})
        tf.config.experimental.enable_tensor_float_32_execution(tensor_float)
