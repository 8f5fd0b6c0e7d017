"""One way to ask any method about any classifier: model and images in, heat out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.explain.edges import edges
from monitor.explain.grad_cam import grad_cam, grad_cam_plus_plus
from monitor.explain.guided import guided_gradients, guided_network, saliency
from monitor.explain.layers import Head, Network
from monitor.explain.score_cam import SCORINGS, Scoring, all_finite, scale_heat, score_cam

CAMS = ("grad-cam", "grad-cam++", "score-cam", "faster-score-cam")
METHODS = (*CAMS, "guided-backprop", *(f"guided-{cam}" for cam in CAMS), *(f"edges-{cam}" for cam in CAMS))
DEFAULT_METHOD = "faster-score-cam"
DEFAULT_MAX_N = 10

MASKED_PIXELS = 2**20
"""Pixels of masked inputs that go through the network at once: 20 images of 224x224, 4 of 512x512.

The first layers of VGG16 then hold about 270 MB each; batches beyond that are no faster on a CPU.
"""

_Answer = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """Heat of a batch of images, with what it is the heat of.

    `heat` is (b, rows, columns) float32, 0..1, the highest value of each image 1: of the layer's size for the
    CAMs, of the input's for guided backpropagation and the products. `target` (b,) int32 is the class
    explained, `score` (b,) its probability, `strength` (b,) the heat's highest value before it was scaled.
    `notes` says for each image why its heat is zero, `flat` or `nan`, or is None.
    """

    method: str
    layer: str
    heat: NDArray[np.float32]
    target: NDArray[np.int32]
    score: NDArray[np.float32]
    strength: NDArray[np.float32]
    notes: tuple[str | None, ...]


class Explainer:
    """A model made ready: each method is traced once for a shape of batch, and reused."""

    def __init__(self, model: Any, layer: str | None = None, head: Head | None = None) -> None:
        """Open `model` at `layer` (default: the last with spatial extent); raises `UsageError`.

        `head` says what the model gives where that is not recognised: softmax, sigmoid or logits.
        """
        self.network = Network(model, layer, head)
        self._traced: dict[tuple[Any, ...], Callable[[tf.Tensor, tf.Tensor], _Answer]] = {}
        self._guided: Network | None = None

    def explain(
        self,
        images: NDArray[Any],
        target: int | Sequence[int] | None = None,
        method: str = DEFAULT_METHOD,
        *,
        max_n: int | None = None,
        scoring: Scoring = "seed",
        chunk: int | None = None,
    ) -> Explained:
        """Explain why `images` (b, h, w, d), preprocessed as the model takes them, belong to `target`.

        `target`: one class for all, one an image, or None for the predicted. `method`: one of `METHODS`.
        For faster-score-cam: `max_n` maps are kept, by default 10, or all where there are fewer. For both
        Score-CAMs: `scoring` (see `monitor.explain.score_cam`) and `chunk`, masked inputs at a time, by
        default what `MASKED_PIXELS` allows. Raises `UsageError`.
        """
        x = self._checked(images)
        wanted = self._targets(target, len(x))
        base, product = _parts(method)
        if chunk is None:
            chunk = max(1, MASKED_PIXELS // (x.shape[1] * x.shape[2]))
        elif chunk < 1:
            raise UsageError(f"chunk is {chunk}; it takes 1 masked input or more at a time")
        run = self._method(base, max_n, scoring, chunk)
        heat, strength, classes, score, finite = (part.numpy() for part in run(x, wanted))
        if product is not None:
            heat, strength = self._times(product, heat, x, classes)
        notes = tuple(
            None if peak > 0 else "flat" if sound else "nan"
            for peak, sound in zip(strength, finite, strict=True)
        )
        return Explained(method, self.network.layer, heat, classes, score, strength, notes)

    def _times(
        self, product: str, heat: NDArray[np.float32], x: tf.Tensor, classes: NDArray[np.int32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Multiply heat (b, fh, fw), resized to x (b, h, w, d), with guided backpropagation or edges."""
        height, width = x.shape[1:3]
        large = np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in heat])
        if product == "edges":
            fine = np.stack([edges(one) for one in np.nan_to_num(x.numpy())])
        else:
            run = self._method("guided-backprop", None, "seed", None)
            fine = run(x, tf.constant(classes))[0].numpy()
        scaled, strength = scale_heat(tf.constant(large * fine))
        return scaled.numpy(), strength.numpy()

    def _method(
        self, method: str, max_n: int | None, scoring: Scoring, chunk: int | None
    ) -> Callable[[tf.Tensor, tf.Tensor], _Answer]:
        """Give the traced function (x, wanted classes or -1) → heat, strength, classes, score, finite."""
        if scoring not in SCORINGS:
            raise UsageError(f"there is no scoring {scoring!r}; there are {' and '.join(SCORINGS)}")
        if method == "faster-score-cam":
            max_n = self._kept(max_n)
            key: tuple[Any, ...] = (method, max_n, scoring, chunk)
        else:
            max_n = None
            key = (method, scoring, chunk) if method == "score-cam" else (method,)
        if key not in self._traced:
            heat_of: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]
            if method in ("grad-cam", "grad-cam++"):
                heat_of = self._gradient_heat(grad_cam if method == "grad-cam" else grad_cam_plus_plus)
            elif method == "guided-backprop":
                heat_of = self._guided_heat()
            else:
                heat_of = self._score_heat(max_n, scoring, chunk)

            def run(x: tf.Tensor, wanted: tf.Tensor) -> _Answer:
                heat, strength, classes, logits, activations = heat_of(x, wanted)
                probabilities = self.network.probabilities(logits)
                score = tf.gather(probabilities, classes, batch_dims=1)
                # A ReLU can turn NaN into 0, so what goes in is looked at as well as what comes out.
                finite = tf.math.is_finite(score) & all_finite(x) & all_finite(activations)
                heat = tf.where(finite[:, None, None], heat, 0.0)
                return heat, tf.where(finite, strength, 0.0), classes, score, finite

            self._traced[key] = tf.function(run)
        return self._traced[key]

    def _gradient_heat(
        self, cam: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    ) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]:
        def heat_of(x: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                activations, logits = self.network.run(x, tape.watch)
                classes = self._classes(logits, wanted)
                score = tf.gather(self.network.class_logits(logits), classes, batch_dims=1)
            gradients = tf.cast(tape.gradient(score, activations), tf.float32)
            activations = tf.cast(activations, tf.float32)
            return *scale_heat(cam(activations, gradients)), classes, logits, activations

        return heat_of

    def _score_heat(
        self, max_n: int | None, scoring: Scoring, chunk: int | None
    ) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]:
        network = self.network
        values = network.outputs if scoring == "seed" else network.probabilities

        def heat_of(x: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, ...]:
            activations, logits = network.run(x)
            classes = self._classes(logits, wanted)
            heat, strength = score_cam(
                lambda masked: values(network.run(masked)[1]),
                x,
                activations,
                classes,
                max_n=max_n,
                scoring=scoring,
                chunk=chunk,
            )
            return heat, strength, classes, logits, activations

        return heat_of

    def _guided_heat(self) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]:
        if self._guided is None:
            self._guided = guided_network(self.network)
        guided = self._guided

        def heat_of(x: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, ...]:
            activations, logits = self.network.run(x)
            classes = self._classes(logits, wanted)
            fine = saliency(guided_gradients(guided, x, classes))
            return *scale_heat(fine), classes, logits, activations

        return heat_of

    def _classes(self, logits: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        predicted = tf.argmax(self.network.class_logits(logits), axis=-1, output_type=tf.int32)
        return tf.where(wanted < 0, predicted, wanted)

    def _checked(self, images: NDArray[Any]) -> tf.Tensor:
        shape = self.network.shape
        size = "x".join("any" if length is None else str(length) for length in shape)
        given = np.shape(images)
        fits = len(given) == 4 and all(
            want in (None, have) for want, have in zip(shape, given[1:], strict=True)
        )
        if not fits or 0 in given:
            raise UsageError(
                f"the model takes a batch of images of {size} (rows x columns x channels); given is {given}"
            )
        return tf.constant(np.asarray(images, np.float32))

    def _targets(self, target: int | Sequence[int] | None, count: int) -> tf.Tensor:
        if target is None:
            return tf.fill([count], -1)
        targets = (
            np.broadcast_to(np.asarray(target), (count,)) if np.ndim(target) == 0 else np.asarray(target)
        )
        if targets.shape != (count,):
            raise UsageError(f"{count} images need one target class each, or one for all; given: {target}")
        for one in targets.tolist():
            if not (isinstance(one, int) and 0 <= one < self.network.classes):
                raise UsageError(f"there is no class {one}: the model has 0 to {self.network.classes - 1}")
        return tf.constant(targets.astype(np.int32))

    def _kept(self, max_n: int | None) -> int | None:
        channels = self.network.channels
        if max_n is None:
            return min(DEFAULT_MAX_N, channels)
        if not 1 <= max_n <= channels:
            raise UsageError(
                f"max_n is {max_n}; of layer {self.network.layer!r} 1 to {channels} maps can be kept"
            )
        return max_n


def explain(
    model: Any,
    images: NDArray[Any],
    target: int | Sequence[int] | None = None,
    method: str = DEFAULT_METHOD,
    layer: str | None = None,
    *,
    head: Head | None = None,
    max_n: int | None = None,
    scoring: Scoring = "seed",
    chunk: int | None = None,
) -> Explained:
    """Explain a batch of images once; `Explainer` with the same arguments is for more than one call."""
    return Explainer(model, layer, head).explain(
        images, target, method, max_n=max_n, scoring=scoring, chunk=chunk
    )


def _parts(method: str) -> tuple[str, str | None]:
    """Split a method into what makes the heat and what it is multiplied with, if anything."""
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    for product in ("guided", "edges"):
        if method.startswith(product + "-") and method.removeprefix(product + "-") in CAMS:
            return method.removeprefix(product + "-"), product
    return method, None
