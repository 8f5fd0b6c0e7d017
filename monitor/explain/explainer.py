"""Compute the heat of any method for any classifier and a batch of images."""

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
    GRADIENTS,
    GradientOf,
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
"""Pixels of masked inputs per batch: 20 images of 224x224, 4 of 512x512.

The first layers of VGG16 then hold about 270 MB each; batches beyond that are no faster on a CPU.
"""


@dataclass(frozen=True, slots=True, eq=False)
class CamResult:
    """Heat of a batch of images, with the method, layer, class and score that it explains.

    `heat` is (b, rows, columns) float32, 0..1, with a maximum of 1 per image. CAMs have the layer's size,
    guided backpropagation and refinements that of the input. `target` (b,) int32 is the explained class,
    `score` (b,) its probability 0..1, `strength` (b,) the heat's maximum before scaling. `notes` holds, for
    each image, why its heat is zero (`flat` or `nan`), else None.
    """

    method: str
    layer: str
    heat: NDArray[np.float32]
    target: NDArray[np.int32]
    score: NDArray[np.float32]
    strength: NDArray[np.float32]
    notes: tuple[str | None, ...]


class Explainer:
    """Explain images with one model: each method is traced once per batch shape, and reused."""

    def __init__(
        self,
        model: Any,
        layer: str | None = None,
        head: Head | None = None,
        *,
        background: NDArray[np.float32] | None = None,
    ) -> None:
        """Open `model` at `layer` (default: the last with spatial extent); raises `UsageError`.

        `head` names the model's output where it is not recognised: softmax, sigmoid or logits. Scoring
        `paper` blends masked images with `background`, a preprocessed image (h, w, d) without the class
        (default: zeros).
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
        gradient_of: GradientOf = "logit",
        chunk: int | None = None,
    ) -> CamResult:
        """Explain why `images` (b, h, w, d), preprocessed for the model, belong to `target`.

        `target`: one class for all, one per image, or None for the predicted. `method`: one of `METHODS`.
        faster-score-cam scores the `max_n` maps (default 10, or all if fewer) that rank highest by `choice`:
        `deviation`, or `gradient`, the deviation times the mean gradient. Both Score-CAMs use `scoring` (see
        `monitor.explain.score_cam`) and `chunk`, the number of masked inputs per batch (default: as
        `MASKED_PIXELS` allows). Grad-CAM and Grad-CAM++ differentiate `gradient_of` the class: its logit, as
        their papers do, or its probability, whose gradient vanishes as it nears 1. Raises `UsageError`.
        """
        x = self._checked(images)
        targets = self._targets(target, len(x))
        base, product = _parts(method)
        if chunk is None:
            chunk = self.chunk_for(x.shape[1:])
        elif chunk < 1:
            raise UsageError(f"chunk is {chunk}; it must be at least 1 masked input per batch")
        for name, given, known in (
            ("scoring", scoring, SCORINGS),
            ("choice", choice, CHOICES),
            ("gradient_of", gradient_of, GRADIENTS),
        ):
            if given not in known:
                raise UsageError(f"there is no {name} {given!r}; there are {', '.join(known)}")
        max_n = self.map_count(max_n) if base == "faster-score-cam" else None
        run = self.compiled(
            base,
            x.shape,
            max_n=max_n,
            scoring=scoring,
            choice=choice,
            gradient_of=gradient_of,
            chunk=chunk,
        )
        heat, strength, classes, score, finite = (part.numpy() for part in run(x, targets))
        notes = _notes(strength, finite)
        explained = CamResult(base, self.network.layer, heat, classes, score, strength, notes)
        return explained if product is None else self.refine(explained, product, images)

    def refine(self, explained: CamResult, product: Refinement, images: NDArray[Any]) -> CamResult:
        """Multiply the enlarged heat of a CAM with `guided` backpropagation or `edges` of its `images`.

        The result equals that of the method `<product>-<cam>`, without computing the CAM again.
        """
        x = self._checked(images)
        enlarged = np.stack([upsample(one, x.shape[1], x.shape[2]) for one in explained.heat])
        if product == "edges":
            fine = np.stack([sobel_edges(one) for one in np.nan_to_num(x.numpy())])
        else:
            run = self.compiled("guided-backprop", x.shape)
            fine = run(x, tf.constant(explained.target))[0].numpy()
        heat, strength = (part.numpy() for part in scale_heat(tf.constant(enlarged * fine)))
        notes = tuple(
            note or after
            for note, after in zip(explained.notes, _notes(strength, strength >= 0), strict=True)
        )
        return replace(
            explained, method=f"{product}-{explained.method}", heat=heat, strength=strength, notes=notes
        )

    @staticmethod
    def chunk_for(shape: Sequence[int]) -> int:
        """Return the default number of masked inputs of `shape` (h, w, d) per batch."""
        return max(1, MASKED_PIXELS // (shape[0] * shape[1]))

    def map_count(self, max_n: int | None) -> int:
        """Return how many maps Faster-Score-CAM scores for `max_n` (None: default); raises `UsageError`."""
        channels = self.network.channels
        if max_n is None:
            return min(DEFAULT_MAX_N, channels)
        if not 1 <= max_n <= channels:
            raise UsageError(
                f"max_n is {max_n}; of layer {self.network.layer!r} 1 to {channels} maps can be scored"
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
        gradient_of: GradientOf = "logit",
        chunk: int | None = None,
    ) -> Callable[[tf.Tensor, tf.Tensor], TracedOutput]:
        """Return the function (x, target classes or -1) of a method for one shape of x, traced once."""
        options = (max_n, scoring, choice, chunk) if "score" in method else (gradient_of,)
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
                cam = grad_cam if method == "grad-cam" else grad_cam_plus_plus
                heat_of = gradient_cam(self.network, cam, gradient_of)
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
            expected in (None, actual) for expected, actual in zip(shape, given[1:], strict=True)
        )
        if not fits or 0 in given:
            raise UsageError(
                f"the model takes a batch of images of {size} (rows x columns x channels); got {given}"
            )
        return tf.constant(np.asarray(images, np.float32))

    def _targets(self, target: int | Sequence[int] | None, count: int) -> tf.Tensor:
        if target is None:
            return tf.fill([count], -1)
        targets = (
            np.broadcast_to(np.asarray(target), (count,)) if np.ndim(target) == 0 else np.asarray(target)
        )
        if targets.shape != (count,):
            raise UsageError(f"{count} images need one target class each, or one for all; got {target}")
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
    """Explain one batch of images; for repeated calls use `Explainer`, which traces only once."""
    return Explainer(model, layer, head).explain(
        images, target, method, max_n=max_n, scoring=scoring, choice=choice, chunk=chunk
    )


def _notes(strength: NDArray[np.float32], finite: NDArray[np.bool_]) -> tuple[str | None, ...]:
    return tuple(
        None if peak > 0 else "flat" if sound else "nan" for peak, sound in zip(strength, finite, strict=True)
    )


def _parts(method: str) -> tuple[str, Refinement | None]:
    """Split a method into its base method and the refinement that multiplies it, if any."""
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    for product in REFINEMENTS:
        cam = method.removeprefix(product + "-")
        if cam in CAMS and cam != method:
            return cam, product
    return method, None
