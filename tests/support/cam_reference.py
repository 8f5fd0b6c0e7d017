"""The definitions of the CAMs in NumPy, one step a line, one image and one map at a time.

Nothing here is shared with the package: the package is measured against it.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


Predict = Callable[[Array], Array]


def softmax(values: Array) -> Array:
    exponents = np.exp(values - values.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def choose(activations: Array, max_n: int | None) -> list[int]:
    """Channels of activations (fh, fw, c) by standard deviation, highest first."""
    if max_n is None:
        return list(range(activations.shape[-1]))
    spreads = [np.std(activations[..., k]) for k in range(activations.shape[-1])]
    return sorted(range(len(spreads)), key=lambda k: (-spreads[k], k))[:max_n]


def seed(predict: Predict, image: Array, activations: Array, max_n: int | None, target: int) -> Array:
    """The article's six steps for one preprocessed image (h, w, d); `predict` is model.predict."""
    height, width = image.shape[:2]
    heat = np.zeros(activations.shape[:2], np.float64)
    for k in choose(activations, max_n):
        resized = cv2.resize(activations[..., k], (width, height), interpolation=cv2.INTER_LINEAR)  # 1
        span = resized.max() - resized.min()
        scaled = resized / span if span != 0 else resized  # 2
        masked = image * scaled[..., None]  # 3
        scores = softmax(predict(masked[None]))  # 4
        weight = scores[0, target]  # 5
        heat += weight * activations[..., k].astype(np.float64)  # 6
    heat = np.maximum(heat, 0)
    return (heat / heat.max()).astype(np.float32)


def paper(probabilities: Predict, image: Array, activations: Array, max_n: int | None, target: int) -> Array:
    """Wang et al.'s definitions for one image; `probabilities` applied exactly one softmax."""
    height, width = image.shape[:2]
    baseline = probabilities(np.zeros_like(image)[None])[0, target]
    heat = np.zeros(activations.shape[:2], np.float64)
    for k in choose(activations, max_n):
        upsampled = cv2.resize(activations[..., k], (width, height), interpolation=cv2.INTER_LINEAR)
        low, high = upsampled.min(), upsampled.max()
        smoothed = (upsampled - low) / (high - low) if high > low else np.zeros_like(upsampled)
        confidence = probabilities((image * smoothed[..., None])[None])[0, target] - baseline
        heat += confidence * activations[..., k].astype(np.float64)
    heat = np.maximum(heat, 0)
    return (heat / heat.max()).astype(np.float32)
