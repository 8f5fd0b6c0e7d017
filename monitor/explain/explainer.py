"""Any method on any classifier: model and images in, heat out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.explain.gradients import grad_cam, grad_cam_plus_plus, guided_network
from monitor.explain.heatmap import sobel_edges, upsample
from monitor.explain.instrumented import Head, InstrumentedModel
from monitor.explain.methods import (
    CHOICES,
    MapRanking,
    TracedOutput,
    gradient_cam,
    guided_backprop,
    score_based_cam,
    with_class_score,
)
from monitor.explain.score_cam import SCORINGS, Scoring, scale_heat

CAMS = ("grad-cam", "grad-cam++", "score-cam", "faster-score-cam")


Refinement = Literal["guided", "edges"]


REFINEMENTS: tuple[Refinement, ...] = ("guided", "edges")


METHODS = (*CAMS, "guided-backprop", *(f"{product}-{cam}" for product in REFINEMENTS for cam in CAMS))


DEFAULT_METHOD = "faster-score-cam"


DEFAULT_MAX_N = 10


MASKED_PIXELS = 2**20
"""Pixels of masked inputs that go through the network at once: 20 images of 224x224, 4 of 512x512.

The first layers of VGG16 then hold about 270 MB each; batches beyond that are no faster on a CPU.
"""


@dataclass(frozen=True, slots=True, eq=False)
class CamResult:
    """Heat of a batch of images, with what it is the heat of.

    `heat` is (b, rows, columns) float32, 0..1, the highest value of each image 1: of the layer's size for the
    CAMs, of the input's for guided backpropagation and refinements. `target` (b,) int32 is the class
    explained, `score` (b,) its probability, `strength` (b,) the heat's highest value before it was scaled.
    `notes` tells for each image why its heat is zero, `flat` or `nan`, or is None.
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

    def __init__(
        self,
        model: Any,
        layer: str | None = None,
        head: Head | None = None,
        *,
        background: NDArray[np.float32] | None = None,
    ) -> None:
        """Open `model` at `layer` (default: the last with spatial extent); raises `UsageError`.

        `head` is what the model returns, where that is not recognised: softmax, sigmoid or logits.
        `background`, a preprocessed image (h, w, d) without the class, is what scoring `paper` lays the
        masked images over; zeros by default.
        """
        self.network = InstrumentedModel(model, layer, head)
        self._background = None if background is None else self._checked(background[None])[0]
        self._traced: dict[tuple[Any, ...], Callable[[tf.Tensor, tf.Tensor], TracedOutput]] = {}
        self._guided: InstrumentedModel | None = None

    def explain(
        self,
        images: NDArray[Any],
        target: int | Sequence[int] | None = None,
        method: str = DEFAULT_METHOD,
        *,
        max_n: int | None = None,
        scoring: Scoring = "seed",
        choice: MapRanking = "deviation",
        chunk: int | None = None,
    ) -> CamResult:
        """Explain why `images` (b, h, w, d), preprocessed as the model takes them, belong to `target`.

        `target`: one class for all, one an image, or None for the predicted. `method`: one of `METHODS`.
        For faster-score-cam: `max_n` maps are kept, by default 10, or all where there are fewer, those
        highest in `choice`: `deviation`, or `gradient`, the deviation times the gradient's mean. For both
        Score-CAMs: `scoring` (see `monitor.explain.score_cam`) and `chunk`, masked inputs at a time, by
        default what `MASKED_PIXELS` allows. Raises `UsageError`.
        """
        x = self._checked(images)
        wanted = self._targets(target, len(x))
        base, product = _parts(method)
        if chunk is None:
            chunk = self.chunk_for(x.shape[1:])
        elif chunk < 1:
            raise UsageError(f"chunk is {chunk}; it takes 1 masked input or more at a time")
        for what, given, known in (("scoring", scoring, SCORINGS), ("choice", choice, CHOICES)):
            if given not in known:
                raise UsageError(f"there is no {what} {given!r}; there are {', '.join(known)}")
        max_n = self.map_count(max_n) if base == "faster-score-cam" else None
        run = self.compiled(base, x.shape, max_n=max_n, scoring=scoring, choice=choice, chunk=chunk)
        heat, strength, classes, score, finite = (part.numpy() for part in run(x, wanted))
        notes = _notes(strength, finite)
        explained = CamResult(base, self.network.layer, heat, classes, score, strength, notes)
        return explained if product is None else self.refine(explained, product, images)

    def refine(self, explained: CamResult, product: Refinement, images: NDArray[Any]) -> CamResult:
        """Multiply the heat of a CAM, enlarged, with `guided` backpropagation or `edges` of its `images`.

        Gives what the method `<product>-<cam>` gives, without computing the CAM again.
        """
        x = self._checked(images)
        large = np.stack([upsample(one, x.shape[1], x.shape[2]) for one in explained.heat])
        if product == "edges":
            fine = np.stack([sobel_edges(one) for one in np.nan_to_num(x.numpy())])
        else:
            run = self.compiled("guided-backprop", x.shape)
            fine = run(x, tf.constant(explained.target))[0].numpy()
        heat, strength = (part.numpy() for part in scale_heat(tf.constant(large * fine)))
        notes = tuple(
            note or after
            for note, after in zip(explained.notes, _notes(strength, strength >= 0), strict=True)
        )
        return replace(
            explained, method=f"{product}-{explained.method}", heat=heat, strength=strength, notes=notes
        )

    @staticmethod
    def chunk_for(shape: Sequence[int]) -> int:
        """Return how many masked inputs of `shape` (h, w, d) go through the network at once by default."""
        return max(1, MASKED_PIXELS // (shape[0] * shape[1]))

    def map_count(self, max_n: int | None) -> int:
        """Number of maps that Faster-Score-CAM keeps when asked for `max_n`; raises `UsageError`."""
        channels = self.network.channels
        if max_n is None:
            return min(DEFAULT_MAX_N, channels)
        if not 1 <= max_n <= channels:
            raise UsageError(
                f"max_n is {max_n}; of layer {self.network.layer!r} 1 to {channels} maps can be kept"
            )
        return max_n

    def compiled(
        self,
        method: str,
        shape: tf.TensorShape,
        *,
        max_n: int | None = None,
        scoring: Scoring = "seed",
        choice: MapRanking = "deviation",
        chunk: int | None = None,
    ) -> Callable[[tf.Tensor, tf.Tensor], TracedOutput]:
        """Give the function (x, wanted classes or -1) of a method for one shape of x, traced once."""
        options = (max_n, scoring, choice, chunk) if "score" in method else ()
        key = (method, tuple(shape), *options)
        if key not in self._traced:
            if method == "guided-backprop":
                self._guided = self._guided or guided_network(self.network)
                heat_of = guided_backprop(self.network, self._guided)
            elif "score" in method:
                heat_of = score_based_cam(
                    self.network,
                    max_n=max_n,
                    scoring=scoring,
                    choice=choice,
                    chunk=chunk,
                    background=self._background,
                )
            else:
                heat_of = gradient_cam(self.network, grad_cam if method == "grad-cam" else grad_cam_plus_plus)
            traced = tf.function(with_class_score(self.network, heat_of))
            self._traced[key] = traced.get_concrete_function(
                tf.TensorSpec(shape, tf.float32), tf.TensorSpec(shape[:1], tf.int32)
            )
        return self._traced[key]

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
    choice: MapRanking = "deviation",
    chunk: int | None = None,
) -> CamResult:
    """Explain a batch of images once; `Explainer` with the same arguments is for more than one call."""
    return Explainer(model, layer, head).explain(
        images, target, method, max_n=max_n, scoring=scoring, choice=choice, chunk=chunk
    )


def _notes(strength: NDArray[np.float32], finite: NDArray[np.bool_]) -> tuple[str | None, ...]:
    return tuple(
        None if peak > 0 else "flat" if sound else "nan" for peak, sound in zip(strength, finite, strict=True)
    )


def _parts(method: str) -> tuple[str, Refinement | None]:
    """Split a method into what makes the heat and what it is multiplied with, if anything."""
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    for product in REFINEMENTS:
        cam = method.removeprefix(product + "-")
        if cam in CAMS and cam != method:
            return cam, product
    return method, None
