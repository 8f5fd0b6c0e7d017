"""Choose the threshold, the score from which a frame is flagged, by the cost of mistakes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.learning.evaluate.costs import Costs, expected_figures

MIN_THRESHOLD, MAX_THRESHOLD = 0.001, 0.999
"""Bounds of a threshold (score 0..1): at 0 every frame would be flagged, at 1 hardly any."""


SMOOTHING = 0.5
"""Uncertainty of a score in logits: about the distance between scores of similar frames."""


GAP_MARGIN = 0.1
"""Least distance of the threshold from good frames and defects, as a fraction of their gap in logits."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold, the reason for it, and the expected results on frames like the validation frames.

    `figures` holds the expected miss rate and false alarm rate with the upper bounds of Wilson's 95 %
    interval, and the expected cost per frame with its 95 % bootstrap interval.
    """

    value: float
    origin: str
    figures: dict[str, float]


def choose_threshold(
    scores: NDArray[np.float32],
    defective: NDArray[np.bool_],
    costs: Costs = Costs(),  # noqa: B008 (frozen)
    *,
    degraded: NDArray[np.float32] | None = None,
) -> Threshold:
    """Choose the threshold with the least expected cost.

    `scores` (n,), 0..1, belong to frames that were not used for training; `defective` (n,) are their labels.
    Rates are smoothed: each score counts as a logistic distribution in logits, so that the threshold depends
    on all scores near it. `degraded` (n,) are the scores of the same frames as a bad camera records them,
    with the same weight. Where good and defective scores do not overlap, the threshold lies between them.
    """
    clean = _logits(scores)
    pooled = clean if degraded is None else np.concatenate([clean, _logits(degraded)])
    labels = defective if degraded is None else np.concatenate([defective, defective])
    low, high = float(_logit_of(MIN_THRESHOLD)), float(_logit_of(MAX_THRESHOLD))
    lowest, highest = float(clean[defective].min()), float(clean[~defective].max())
    is_separated = lowest > highest
    if is_separated:
        low, high = max(low, highest), min(high, lowest)
        if low >= high:  # all scores lie on one side of the bounds
            low, high = highest, lowest
        low, high = low + GAP_MARGIN * (high - low), high - GAP_MARGIN * (high - low)
    candidates = np.linspace(low, high, 1001)[1:-1]
    misses = _sigmoid((candidates[:, None] - pooled[labels]) / SMOOTHING).mean(axis=1)
    alarms = _sigmoid((pooled[~labels] - candidates[:, None]) / SMOOTHING).mean(axis=1)
    cost = costs.prevalence * costs.miss * misses + (1 - costs.prevalence) * costs.alarm * alarms
    value = float(_sigmoid(candidates[int(cost.argmin())]))
    rounded = round(value, 6)
    good_below = float(scores[~defective].max())
    if not is_separated or good_below < rounded <= float(scores[defective].min()):
        value = rounded
    figures = expected_figures(scores, defective, value, costs)
    missed, alarmed = int((scores[defective] < value).sum()), int((scores[~defective] >= value).sum())
    location = (
        "between the highest good frame and the lowest defect" if is_separated else "where kinds overlap"
    )
    return Threshold(
        value,
        f"least expected cost, {location}: a miss costs {costs.miss:g}, a false alarm {costs.alarm:g}, "
        f"{costs.prevalence:.2%} of frames are defective; {missed} of {int(defective.sum())} defective and "
        f"{alarmed} of {int((~defective).sum())} good validation frames on the wrong side",
        figures,
    )


def _logits(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(_logit_of(scores.astype(np.float64)), np.float64)


def _logit_of(scores: NDArray[np.float64] | float) -> NDArray[np.float64]:
    bounded = np.clip(scores, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(bounded / (1 - bounded)), np.float64)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)), np.float64)
