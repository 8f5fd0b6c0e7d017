"""A convolution and a head in plain TensorFlow, for tests of the pure functions."""

import numpy as np
import tensorflow as tf


class ToyNet:
    """Input (n, 32, 48, 3) → 4x4 mean, convolution, leaky ReLU: (n, 8, 12, 16) → mean, dense: (n, 3).

    Its maps go below zero too, where the two scorings differ most.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(11)
        self.kernel = tf.constant(rng.normal(0, 0.3, (3, 3, 3, 16)).astype(np.float32))
        self.dense = tf.constant(rng.normal(0, 0.4, (16, 3)).astype(np.float32))
        self.batches: list[int] = []

    def activations(self, x: tf.Tensor) -> tf.Tensor:
        pooled = tf.nn.avg_pool2d(x, 4, 4, "VALID")
        return tf.nn.leaky_relu(tf.nn.conv2d(pooled, self.kernel, 1, "SAME"), 0.3)

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        self.batches.append(len(x) if tf.executing_eagerly() else x.shape[0])
        return tf.reduce_mean(self.activations(x), [1, 2]) @ self.dense

    def probabilities(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self.logits(x))
