"""Compares explanation methods and numbers of maps, by quality and time, on images with masks."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.errors import DataError
from monitor.explain.explainer import Explainer
from monitor.explain.methods import map_weights
from monitor.explain.score_cam import WeightedMaps
from monitor.imaging.geometry import resize_to_input
from monitor.imaging.localisation import locate
from monitor.learning.datasets import Sample, load_image, load_mask
from monitor.learning.evaluate.cam_variants import CamScore, CamVariant, cam_variants, name
from monitor.learning.evaluate.localisation import localise_defect
from monitor.models.bundle import ModelBundle
from monitor.models.preprocessing import preprocess
from monitor.records import Box, Heatmap, Region, TileHeatmap

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


Scores = Callable[[Array], Array]
"""Maps inputs (n, h, w, d) to the probability (n,) of the explained class."""


Place = Callable[[Heatmap, int, int], tuple[Heatmap, Sequence[Region]]]
"""Maps heat of a layer, and rows and columns of an image, to the heat of that size and its regions."""


def compare_cams(
    bundle: ModelBundle,
    samples: Sequence[Sample],
    variants: Sequence[CamVariant] | None = None,
    *,
    steps: int = 12,
    advance: Callable[[str], None] = lambda _: None,
) -> list[CamScore]:
    """Compare methods on the defective images with masks among `samples`; a good one serves as background.

    `variants` is `cam_variants()` by default; `steps` is the number of steps of deletion and insertion.
    `advance` is called after each method with its name. Raises `DataError` where no image is suitable.
    """
    card = bundle.card
    height, width = card.input_size
    inputs, masks = [], []
    good: Array | None = None
    for sample in samples:
        if not sample.defective and good is not None:
            continue
        image = load_image(sample)
        mask = load_mask(sample, *image.shape[:2])
        x = preprocess(card, resize_to_input(image, card.input_size)[None])[0]
        if not sample.defective:
            good = x
        elif mask is not None and mask.any():
            inputs.append(x)
            masks.append(mask)
    if not inputs or good is None:
        raise DataError("comparing explanations needs defective images with masks, and a good one")

    def place(heat: Heatmap, rows: int, columns: int) -> tuple[Heatmap, Sequence[Region]]:
        return locate(
            [TileHeatmap(heat, Box(0, 0, columns, rows), 1.0)],
            width=columns,
            height=rows,
            input_size=(height, width),
            cell_offset=card.cell_offset,
            threshold=card.localisation.threshold,
            minimum_area=0.0,
        )

    model = bundle.keras_model()
    plain, over_good = (Explainer(model, card.cam_layer, background=one) for one in (None, good))
    found = []
    for one in variants if variants is not None else cam_variants():
        explainer = over_good if one.over_good else plain
        found.append(
            score_cam_variant(
                explainer, one, inputs, masks, good, target=card.defect_class, place=place, steps=steps
            )
        )
        advance(name(one))
    return found


def score_cam_variant(
    explainer: Explainer,
    variant: CamVariant,
    inputs: Sequence[Array],
    masks: Sequence[Mask],
    good: Array,
    *,
    target: int,
    place: Place,
    steps: int,
) -> CamScore:
    """Measure one method on `inputs` (h, w, d) with defects in `masks` (H, W); `good` is the background."""
    scores = probability(explainer, target)
    rows: list[tuple[float, ...]] = []
    without = 0
    times: list[float] = []
    options = {
        "max_n": variant.max_n,
        "scoring": variant.scoring,
        "choice": variant.choice,
        "gradient_of": variant.gradient_of,
    }
    overlaps = []
    for x, mask in zip(inputs, masks, strict=True):
        if not times:
            explainer.explain(x[None], target, variant.method, **options)  # type: ignore[arg-type]  # as typed
        started_at = time.perf_counter()
        heat = explainer.explain(x[None], target, variant.method, **options).heat[0]  # type: ignore[arg-type]
        times.append(time.perf_counter() - started_at)
        if not heat.any():
            without += 1
            rows.append((0.0, 0.0, math.nan, math.nan, math.nan, math.nan))
            overlaps.append(0.0)
            continue
        placed, regions = place(heat, *mask.shape)
        pointed, inside = pointing_game(placed, mask)
        overlaps.append(localise_defect(placed, regions, mask).overlap)
        large, _ = place(heat, *x.shape[:2])
        whole, explained = scores(np.stack([x, x * large[..., None]]))
        rows.append(
            (
                pointed,
                inside,
                max(0.0, float(whole - explained)) / float(whole),
                float(explained > whole),
                area(scores, x, good, large, steps),
                area(scores, good, x, large, steps),
            )
        )
    pointing, inside, drop, increase, deletion, insertion = (
        mean(column) for column in zip(*rows, strict=True)
    )
    return CamScore(
        variant,
        len(rows),
        without,
        pointing,
        inside,
        drop,
        increase,
        deletion,
        insertion,
        1000 * float(np.median(times)),
        float(np.median(overlaps)),
        float(np.mean(np.asarray(overlaps) >= 0.5)),
        *_effect_of_weights(explainer, variant, inputs, masks, good, target=target, place=place),
    )


def _effect_of_weights(
    explainer: Explainer,
    variant: CamVariant,
    inputs: Sequence[Array],
    masks: Sequence[Mask],
    good: Array,
    *,
    target: int,
    place: Place,
) -> tuple[float, float]:
    """Return `weight_spread` and `overlap_equal` of a `CamScore`; no numbers for other methods."""
    if variant.method != "faster-score-cam":
        return math.nan, math.nan
    weigh = tf.function(
        map_weights(
            explainer.network,
            max_n=explainer.map_count(variant.max_n),
            scoring=variant.scoring,
            choice=variant.choice,
            chunk=explainer.chunk_for(inputs[0].shape),
            background=tf.constant(good) if variant.over_good else None,
        )
    )
    spreads, overlaps = [], []
    for x, mask in zip(inputs, masks, strict=True):
        weighted = weigh(tf.constant(x[None], tf.float32), tf.constant([target], tf.int32))[0]
        weights = weighted.weights.numpy()[0]
        if weights.max() > 0:
            spreads.append(float((weights.max() - weights.min()) / weights.max()))
        equal = WeightedMaps(weighted.maps, tf.ones_like(weighted.weights)).heat()[0].numpy()[0]
        overlaps.append(localise_defect(*place(equal, *mask.shape), mask).overlap if equal.any() else 0.0)
    return float(np.median(spreads)) if spreads else math.nan, float(np.median(overlaps))


def mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are numbers; not a number where none is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def pointing_game(heat: Heatmap, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return whether the peak of heat (h, w) lies in `mask` (h, w), and the fraction of heat that does."""
    pointed = float(mask.flat[int(heat.argmax())])
    return pointed, float(heat[mask].sum(dtype=np.float64) / heat.sum(dtype=np.float64))


def area(scores: Scores, start: Array, end: Array, heat: Heatmap, steps: int) -> float:
    """Return the area under the score while `start` becomes `end` (h, w, d), hottest pixels first.

    The fractions of changed pixels are (0 … 1)³: steps are fine at first, where the few pixels of a defect
    go.
    """
    order = np.argsort(-heat, axis=None, kind="stable")
    rank_of = np.empty(order.size, np.int64)
    rank_of[order] = np.arange(order.size)
    rank = rank_of.reshape(*heat.shape, 1)
    fractions = np.linspace(0, 1, steps + 1) ** 3
    values = scores(
        np.stack([np.where(rank < round(order.size * fraction), end, start) for fraction in fractions])
    )
    return float(np.trapezoid(values, fractions))


def probability(explainer: Explainer, target: int) -> Scores:
    """Return the network's probability of `target` as a plain function."""
    network = explainer.network

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def run(x: tf.Tensor) -> Any:
        return network.probabilities(network.forward(x)[1])[:, target]

    return lambda x: np.asarray(run(tf.constant(x, tf.float32)), np.float32)
