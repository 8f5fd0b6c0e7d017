"""Two models on the same labelled images, each at its own threshold: what changes, and what is proven."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import numpy as np

from monitor.errors import DataError, printable
from monitor.learning.datasets import Sample, load_image
from monitor.learning.evaluate.evaluator import ImageResult, score_images, to_json
from monitor.learning.evaluate.localisation import LocalisationMetrics, localisation
from monitor.learning.evaluate.metrics import area_under_roc
from monitor.learning.evaluate.model_under_test import ModelUnderTest
from monitor.learning.evaluate.paired_tests import (
    CONFIDENCE,
    binomial_cdf,
    clopper_pearson,
    images_needed,
    images_to_exclude,
    mcnemar,
)

MARGINS = {"miss": 0.05, "false alarm": 0.02}
"""Rate of new mistakes below which a model counts as no worse."""

ROUNDS, TIMED_FRAMES = 5, 16
"""How often, and on how many frames, the models' speed is compared."""

Decision = Literal["promote", "keep", "undecided"]


@dataclass(frozen=True, slots=True)
class ImageComparison:
    """One image, what either model makes of it, and whether the model flags it at its own threshold."""

    sample: Sample
    old: ImageResult
    new: ImageResult
    old_flagged: bool
    new_flagged: bool

    @property
    def old_right(self) -> bool:
        """Whether the old model's verdict is the people's."""
        return self.old_flagged == self.sample.defective

    @property
    def new_right(self) -> bool:
        """Whether the new model's is."""
        return self.new_flagged == self.sample.defective


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """Mistakes of one kind (`miss` or `false alarm`) on the `images` where it is possible.

    `gains` are mistakes of the old model that the new one does not make, `losses` the reverse, `p_value` the
    chance of so uneven a split between equal models. `old_bounds` and `new_bounds` are exact 95 % bounds of
    either rate; `needed`: images that would show the difference, None where the models count as equal.
    """

    mistake: str
    surface: str | None
    images: int
    old: int
    new: int
    gains: int
    losses: int
    p_value: float
    old_bounds: tuple[float, float]
    new_bounds: tuple[float, float]
    needed: int | None

    @property
    def is_better(self) -> bool:
        """Whether it is proven that the new model makes fewer of these mistakes."""
        return self.gains > self.losses and self.p_value < 1 - CONFIDENCE

    @property
    def is_worse(self) -> bool:
        """Whether it is proven that it makes more."""
        return self.losses > self.gains and self.p_value < 1 - CONFIDENCE

    @property
    def is_no_worse(self) -> bool:
        """Whether it is proven that new mistakes are rarer than the margin."""
        return binomial_cdf(self.losses, self.images, MARGINS[self.mistake]) <= 1 - CONFIDENCE


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """What one model makes of the images: AUC 0..1, boxes where masks are known, and unfamiliar images."""

    name: str
    sha256: str
    threshold: float
    auc: float
    boxes: LocalisationMetrics | None
    unfamiliar: int | None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to do, and the reasons, a sentence each."""

    decision: Decision
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All results. `left_out`: images that one of the models was made from. `speed`: new by old, in time."""

    images: tuple[ImageComparison, ...]
    left_out: int
    old: ModelFigures
    new: ModelFigures
    counts: tuple[PairedCounts, ...]
    by_surface: tuple[PairedCounts, ...]
    speed: float
    recommendation: Recommendation

    @property
    def changed(self) -> list[ImageComparison]:
        """The images with another verdict: new misses, then new false alarms, then what is now right."""
        different = [one for one in self.images if one.old_flagged != one.new_flagged]
        return sorted(different, key=lambda one: (one.new_right, not one.sample.defective, one.new.score))


def compare(
    old: ModelUnderTest,
    new: ModelUnderTest,
    samples: Sequence[Sample],
    *,
    advance: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compare the models on those of `samples` that neither was made from.

    Raises `DataError` if there are none.
    """
    pairs = [
        ImageComparison(sample, before, after, before.score >= old.threshold, after.score >= new.threshold)
        for sample, before, after in zip(
            samples,
            score_images(old, samples, None, lambda: advance(f"{old.name}, old")),
            score_images(new, samples, None, lambda: advance(f"{new.name}, new")),
            strict=True,
        )
    ]
    unseen = [pair for pair in pairs if pair.old.used is None and pair.new.used is None]
    if not unseen:
        raise DataError(
            "the models were made from all of these images: compare them on the holdout, or on others"
        )
    counts = _count(unseen, None)
    surfaces = sorted({pair.sample.surface for pair in unseen})
    by_surface = tuple(
        count
        for surface in (surfaces if len(surfaces) > 1 else ())
        for count in _count([pair for pair in unseen if pair.sample.surface == surface], surface)
    )
    return Comparison(
        images=tuple(unseen),
        left_out=len(pairs) - len(unseen),
        old=_figures(old, [pair.old for pair in unseen]),
        new=_figures(new, [pair.new for pair in unseen]),
        counts=counts,
        by_surface=by_surface,
        speed=_speed(old, new, [pair.sample for pair in unseen[:TIMED_FRAMES]]),
        recommendation=recommend(counts, by_surface),
    )


def recommend(counts: Sequence[PairedCounts], by_surface: Sequence[PairedCounts]) -> Recommendation:
    """Recommend by what is proven: a loss anywhere speaks against the new model, a gain for it.

    Where nothing is proven, the reasons say how many images would be enough.
    """
    worse = [one for one in (*counts, *by_surface) if one.is_worse]
    if worse:
        return Recommendation("keep", tuple(_sentence(one) for one in worse))
    better = [one for one in counts if one.is_better]
    unproven = [one for one in counts if not one.is_better and not one.is_no_worse]
    harmed = [one for one in unproven if one.losses > one.gains]
    reasons = tuple(_sentence(one) for one in (*better, *unproven))
    if better and not harmed:
        return Recommendation("promote", reasons)
    if not unproven:
        equal = (
            f"new mistakes are rarer than {_margins()}: the new model is no worse, and no better is proven",
        )
        return Recommendation("promote", equal)
    return Recommendation("undecided", reasons)


def as_document(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison for JSON; null where a figure has no meaning."""
    return {
        "version": 1,
        "recommendation": to_json(comparison.recommendation),
        "old": to_json(comparison.old),
        "new": to_json(comparison.new),
        "left_out": comparison.left_out,
        "speed_ratio": to_json(comparison.speed),
        "counts": to_json(comparison.counts),
        "by_surface": to_json(comparison.by_surface),
        "pictures": [
            {
                "path": printable(one.sample.path),
                "defective": one.sample.defective,
                "old_score": one.old.score,
                "new_score": one.new.score,
                "old_flagged": one.old_flagged,
                "new_flagged": one.new_flagged,
            }
            for one in comparison.images
        ],
    }


def _count(pairs: Sequence[ImageComparison], surface: str | None) -> tuple[PairedCounts, ...]:
    found = []
    for mistake, defective in (("miss", True), ("false alarm", False)):
        own = [pair for pair in pairs if pair.sample.defective == defective]
        old_wrong = sum(not pair.old_right for pair in own)
        new_wrong = sum(not pair.new_right for pair in own)
        gains = sum(pair.new_right and not pair.old_right for pair in own)
        losses = sum(pair.old_right and not pair.new_right for pair in own)
        found.append(
            PairedCounts(
                mistake,
                surface,
                len(own),
                old_wrong,
                new_wrong,
                gains,
                losses,
                mcnemar(gains, losses),
                clopper_pearson(old_wrong, len(own)),
                clopper_pearson(new_wrong, len(own)),
                images_needed(gains, losses, len(own)),
            )
        )
    return tuple(found)


def _figures(model: ModelUnderTest, results: Sequence[ImageResult]) -> ModelFigures:
    places = [one.localisation for one in results if one.localisation is not None]
    scores = np.array([one.score for one in results], float)
    unfamiliar = None
    if model.limit is not None:
        unfamiliar = sum(one.distance is None or not one.distance <= model.limit for one in results)
    return ModelFigures(
        model.name,
        model.sha256,
        model.threshold,
        area_under_roc(scores, np.array([one.sample.defective for one in results], bool)),
        localisation(places) if places else None,
        unfamiliar,
    )


def _speed(old: ModelUnderTest, new: ModelUnderTest, samples: Sequence[Sample]) -> float:
    """Return the time of the new model by that of the old, for whole frames: the median of rounds in turn."""
    images = [load_image(sample) for sample in samples]

    def seconds(model: ModelUnderTest) -> float:
        started_at = time.perf_counter()
        for image in images:
            _, tiles = model.cut(image)
            for start in range(0, len(tiles), model.batch):
                model.classify(np.stack(tiles[start : start + model.batch]))
        return time.perf_counter() - started_at

    pairs = [(seconds(old), seconds(new)) for _ in range(ROUNDS)]
    return median(after / max(before, 1e-9) for before, after in pairs)


def _sentence(one: PairedCounts) -> str:
    plural = {"miss": "misses", "false alarm": "false alarms"}[one.mistake]
    where = f" on {one.surface}" if one.surface else ""
    seen = f"{plural}{where}: {one.old} before, {one.new} after, of {one.images} "
    seen += f"({one.gains} better, {one.losses} worse"
    if one.is_better or one.is_worse:
        return f"{seen}; p = {one.p_value:.2g})"
    margin = MARGINS[one.mistake]
    wanted = [images_to_exclude(margin)] if not one.losses else []
    if one.needed is not None and one.needed > one.images:
        wanted.append(one.needed)
    more = min((count - one.images for count in wanted if count > one.images), default=None)
    kind = "defects" if one.mistake == "miss" else "good images"
    hint = f"; about {more} more labelled {kind} would decide" if more else ""
    return f"{seen}): the images do not suffice{hint}"


def _margins() -> str:
    return " and ".join(f"{margin:.0%} {mistake}" for mistake, margin in MARGINS.items())
