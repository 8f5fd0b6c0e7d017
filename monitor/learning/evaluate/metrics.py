"""How well scores separate defects from good parts.

Every function takes `scores` (n,) float, 0..1, the higher the more likely a defect, and `defective` (n,)
bool. Where a class that a measure needs is missing, the measure is not a number. Pure NumPy.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the interval that holds 95 % of its bootstrap repetitions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """The quality of the scores of one set of images at a threshold.

    The bootstrap only repeats images that exist: without a single mistake its interval has no width.
    `recall_bounds` and `false_alarm_bounds` are Wilson's, which account for the number of images.
    """

    good: int
    defects: int
    threshold: float
    misses: int
    false_alarms: int
    lowest_defect: float
    highest_good: float
    auc: Estimate
    average_precision: Estimate
    recall: Estimate
    recall_bounds: tuple[float, float]
    false_alarm_rate: Estimate
    false_alarm_bounds: tuple[float, float]
    recall_without_false_alarm: Estimate
    margin: Estimate
    calibration_error: Estimate


def area_under_roc(scores: Scores, defective: Flags) -> float:
    """Return the probability that a defect scores above a good part, a tie counting half (Mann-Whitney)."""
    good, defects = np.sort(scores[~defective]), scores[defective]
    if not good.size or not defects.size:
        return math.nan
    below = np.searchsorted(good, defects, side="left")
    not_above = np.searchsorted(good, defects, side="right")
    return float((below + not_above).sum() / (2 * good.size * defects.size))


def average_precision(scores: Scores, defective: Flags) -> float:
    """Return the precision at every recall step, weighted by the step; equal scores are flagged together."""
    _, flagged, hits = _flagged_from_the_top(scores, defective)
    if not hits.size or not hits[-1]:
        return math.nan
    return float(np.sum(np.diff(hits, prepend=0) * (hits / flagged)) / hits[-1])


def recall(scores: Scores, defective: Flags, threshold: float) -> float:
    """Return the fraction of defects at or above the threshold."""
    return _fraction(scores[defective] >= threshold)


def false_alarm_rate(scores: Scores, defective: Flags, threshold: float) -> float:
    """Return the fraction of good parts at or above the threshold."""
    return _fraction(scores[~defective] >= threshold)


def recall_without_false_alarm(scores: Scores, defective: Flags) -> float:
    """Return the fraction of defects above the highest good part."""
    if defective.all():
        return math.nan
    return _fraction(scores[defective] > scores[~defective].max())


def margin(scores: Scores, defective: Flags) -> float:
    """Return the lowest defect minus the highest good part, -1..1: above zero a threshold separates all."""
    return _lowest(scores[defective]) + _lowest(-scores[~defective])


def calibration_error(scores: Scores, defective: Flags, bins: int = 10) -> float:
    """Return the expected calibration error, 0..1: |mean score - fraction of defects|, weighted over bins.

    Bins have equal width. Guo et al. 2017 (arXiv 1706.04599), equation 3, on the score of a defect.
    """
    if not scores.size:
        return math.nan
    bin_of = np.minimum((scores * bins).astype(int), bins - 1)
    excess = np.bincount(bin_of, weights=scores - defective, minlength=bins)
    return float(np.abs(excess).sum() / scores.size)


def roc(scores: Scores, defective: Flags) -> tuple[Scores, Scores]:
    """Return (false alarm rate, recall) at every distinct score, highest first, from (0, 0) to (1, 1)."""
    _, flagged, hits = _flagged_from_the_top(scores, defective)
    alarms = flagged - hits
    start = np.zeros(1)
    return (
        np.concatenate([start, alarms / max(1, int(np.count_nonzero(~defective)))]),
        np.concatenate([start, hits / max(1, int(np.count_nonzero(defective)))]),
    )


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95 % bounds of a fraction that was observed as `hits` of `trials` (Wilson 1927)."""
    if not trials:
        return math.nan, math.nan
    z = 1.959964
    fraction, scale = hits / trials, 1 + z * z / trials
    centre = (fraction + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(fraction * (1 - fraction) / trials + z * z / (4 * trials * trials))
    # At none and at all the bound is exact, which rounding would hide.
    return centre - half if hits else 0.0, centre + half if hits < trials else 1.0


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    strata: NDArray[np.generic],
    *,
    repeats: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return `statistic` of all images, with its 2.5 % and 97.5 % quantiles over redrawn sets of images.

    `statistic` takes the indices (n,) of a set. Images are drawn with replacement within each value of
    `strata` (n,), so that each set has as many defects as the original. The same seed draws the same sets.
    """
    value = statistic(np.arange(strata.size))
    if math.isnan(value):
        return Estimate(value, value, value)
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    drawn = [
        statistic(np.concatenate([group[random.integers(group.size, size=group.size)] for group in groups]))
        for _ in range(repeats)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(value, float(low), float(high))


def classification(
    scores: Scores, defective: Flags, threshold: float, *, repeats: int = 1000, seed: int = 0
) -> ClassificationMetrics:
    """Compute every measure of this module on one set of images."""

    def estimate(measure: Callable[[Scores, Flags], float]) -> Estimate:
        return bootstrap(lambda i: measure(scores[i], defective[i]), defective, repeats=repeats, seed=seed)

    defects = int(np.count_nonzero(defective))
    good = defective.size - defects
    misses = int(np.count_nonzero(scores[defective] < threshold))
    false_alarms = int(np.count_nonzero(scores[~defective] >= threshold))
    return ClassificationMetrics(
        good=good,
        defects=defects,
        threshold=threshold,
        misses=misses,
        false_alarms=false_alarms,
        lowest_defect=_lowest(scores[defective]),
        highest_good=-_lowest(-scores[~defective]),
        auc=estimate(area_under_roc),
        average_precision=estimate(average_precision),
        recall=estimate(lambda s, d: recall(s, d, threshold)),
        recall_bounds=wilson(defects - misses, defects),
        false_alarm_rate=estimate(lambda s, d: false_alarm_rate(s, d, threshold)),
        false_alarm_bounds=wilson(false_alarms, good),
        recall_without_false_alarm=estimate(recall_without_false_alarm),
        margin=estimate(margin),
        calibration_error=estimate(calibration_error),
    )


def _flagged_from_the_top(
    scores: Scores, defective: Flags
) -> tuple[Scores, NDArray[np.intp], NDArray[np.intp]]:
    """Distinct scores, highest first; for each, how many images and how many defects reach it."""
    values, index = np.unique(-scores, return_inverse=True)
    flagged = np.cumsum(np.bincount(index, minlength=values.size))
    hits = np.cumsum(np.bincount(index[defective], minlength=values.size))
    return -values, flagged, hits


def _fraction(flags: Flags) -> float:
    return float(flags.mean()) if flags.size else math.nan


def _lowest(values: Scores) -> float:
    return float(values.min()) if values.size else math.nan
