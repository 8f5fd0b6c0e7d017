"""Compares explanation methods and numbers of maps, by quality and time, on images with masks."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.errors import DataError
from monitor.explain.explainer import Explainer
from monitor.explain.methods import MapRanking
from monitor.explain.score_cam import Scoring
from monitor.imaging.geometry import resize_to_input
from monitor.imaging.regions import merge_heatmaps
from monitor.learning.datasets import Sample, load_image, load_mask
from monitor.learning.evaluate.tables import Table, format_number
from monitor.models.bundle import ModelBundle
from monitor.models.preprocessing import preprocess
from monitor.records import Box, Heatmap, TileHeatmap

Array = NDArray[np.float32]


Scores = Callable[[Array], Array]
"""Maps inputs (n, h, w, d) to the probability (n,) of the explained class."""


@dataclass(frozen=True, slots=True)
class CamVariant:
    """A method with the options of `Explainer.explain`; `over_good`: a good image as background."""

    method: str
    max_n: int | None = None
    scoring: Scoring = "seed"
    choice: MapRanking = "deviation"
    over_good: bool = False


@dataclass(frozen=True, slots=True)
class CamScore:
    """The quality of a method, averaged over the images; fractions 0..1.

    `pointing`: the peak lies in the mask. `heat_inside`: fraction of the heat that does. `drop` and
    `increase`: average drop and increase in confidence (Chattopadhyay et al. 2018, arXiv 1710.11063, section
    5.1) of the input times the heat. `deletion`, less is better, and `insertion`, more is better: area under
    the score while pixels, hottest first, are removed from or inserted into the image (Petsiuk et al. 2018,
    arXiv 1806.07421); the pixels of a good image replace removed ones. `milliseconds`: median of one
    explanation, classification included. `without`: images without heat; they count as not pointed at, with
    no heat inside, and are left out of the rest.
    """

    asked: CamVariant
    pictures: int
    without: int
    pointing: float
    heat_inside: float
    drop: float
    increase: float
    deletion: float
    insertion: float
    milliseconds: float


COUNTS = (1, 3, 5, 10, 20, 50)


def cam_variants(counts: Sequence[int] = COUNTS) -> list[CamVariant]:
    """Return the gradient CAMs, and each way to choose and score maps for each count, and for all maps."""
    ways: list[tuple[Scoring, MapRanking, bool]] = [
        ("seed", "deviation", False),
        ("seed", "gradient", False),
        ("paper", "deviation", False),
        ("paper", "deviation", True),
        ("paper", "gradient", True),
    ]
    faster = [CamVariant("faster-score-cam", count, *way) for way in ways for count in counts]
    whole = [
        CamVariant("score-cam"),
        CamVariant("score-cam", scoring="paper"),
        CamVariant("score-cam", scoring="paper", over_good=True),
    ]
    return [CamVariant("grad-cam"), CamVariant("grad-cam++"), *faster, *whole]


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

    def spread(heat: Heatmap, rows: int, columns: int) -> Heatmap:
        patch = TileHeatmap(heat, Box(0, 0, columns, rows), 1.0)
        return merge_heatmaps(
            [patch], width=columns, height=rows, input_size=(height, width), cell_offset=card.cell_offset
        )

    model = bundle.keras_model()
    plain, over_good = (Explainer(model, card.cam_layer, background=one) for one in (None, good))
    found = []
    for one in variants if variants is not None else cam_variants():
        explainer = over_good if one.over_good else plain
        found.append(
            score_cam_variant(
                explainer, one, inputs, masks, good, target=card.defect_class, spread=spread, steps=steps
            )
        )
        advance(name(one))
    return found


def score_cam_variant(
    explainer: Explainer,
    variant: CamVariant,
    inputs: Sequence[Array],
    masks: Sequence[NDArray[np.bool_]],
    good: Array,
    *,
    target: int,
    spread: Callable[[Heatmap, int, int], Heatmap],
    steps: int,
) -> CamScore:
    """Measure one method on `inputs` (h, w, d) with defects in `masks` (H, W); `good` is the background."""
    scores = probability(explainer, target)
    rows: list[tuple[float, ...]] = []
    without = 0
    times: list[float] = []
    for x, mask in zip(inputs, masks, strict=True):
        options = {"max_n": variant.max_n, "scoring": variant.scoring, "choice": variant.choice}
        if not times:
            explainer.explain(x[None], target, variant.method, **options)  # type: ignore[arg-type]  # as typed
        started_at = time.perf_counter()
        heat = explainer.explain(x[None], target, variant.method, **options).heat[0]  # type: ignore[arg-type]
        times.append(time.perf_counter() - started_at)
        if not heat.any():
            without += 1
            rows.append((0.0, 0.0, math.nan, math.nan, math.nan, math.nan))
            continue
        pointed, inside = pointing_game(spread(heat, *mask.shape), mask)
        large = spread(heat, *x.shape[:2])
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
    )


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


def name(variant: CamVariant) -> str:
    """Describe a variant in a few words."""
    if "score" not in variant.method:
        return variant.method
    count = "" if variant.max_n is None else f" N={variant.max_n}"
    choice = " by gradient" if variant.choice == "gradient" else ""
    return f"{variant.method}{count}{choice}, {variant.scoring}" + (" over good" if variant.over_good else "")


def as_table(found: Sequence[CamScore]) -> Table:
    """Return the comparison as a table, for the terminal and the report."""
    header = (
        "method",
        "pointing",
        "heat inside",
        "drop",
        "increase",
        "deletion",
        "insertion",
        "no heat",
        "ms",
    )
    rows = tuple(
        (
            name(one.asked),
            *(
                format_number(value)
                for value in (
                    one.pointing,
                    one.heat_inside,
                    one.drop,
                    one.increase,
                    one.deletion,
                    one.insertion,
                )
            ),
            f"{one.without}/{one.pictures}",
            f"{one.milliseconds:.0f}",
        )
        for one in found
    )
    note = (
        "Deletion: less is better; insertion: more is better; both insert pixels of a good image. "
        "Drop and increase multiply the input with the heat, so they also depend on the score of blank "
        "regions."
    )
    return Table("Explanation methods", header, rows, note)
