"""From images at the network's size to its input: the only place where this is defined."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.models.card import ModelCard


def preprocess(card: ModelCard, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert blue-green-red images (b, h, w, 3) uint8 to the network's input (b, h, w, 3) float32."""
    steps = card.preprocessing
    ordered = images[..., ::-1] if steps.channel_order == "rgb" else images
    mean, deviation = np.asarray(steps.mean, np.float32), np.asarray(steps.deviation, np.float32)
    return (ordered.astype(np.float32) * np.float32(steps.scale) - mean) / deviation


def preprocess_tf(card: ModelCard, images: Any) -> Any:
    """Do the same as `preprocess` in TensorFlow operations, to be traced into a graph."""
    import tensorflow as tf  # noqa: PLC0415 (the NumPy half must not pay for it)

    steps = card.preprocessing
    ordered = tf.reverse(images, axis=[-1]) if steps.channel_order == "rgb" else images
    scaled = tf.cast(ordered, tf.float32) * tf.constant(steps.scale, tf.float32)
    return (scaled - tf.constant(steps.mean, tf.float32)) / tf.constant(steps.deviation, tf.float32)
