"""The score from which a picture counts as defective."""

import numpy as np
from numpy.typing import NDArray

SHARE = 1 / 3
"""How far up from the highest good score to the lowest defect the threshold lies."""

LEAST, MOST = 0.05, 0.95
"""Bounds of a threshold: a few pictures cannot prove more."""


def choose_threshold(scores: NDArray[np.float32], defective: NDArray[np.bool_]) -> tuple[float, str]:
    """A threshold without a miss among `scores` (n,), 0..1, of pictures labelled `defective` (n,), and why.

    Where good and defective pictures keep apart it lies between them on the logit scale, on which a network's
    confidence is spread evenly; nearer to the good ones, for a missed defect costs more than a second look.
    Else just below the lowest defect, whatever false alarms that costs.
    """
    lowest, highest = float(scores[defective].min()), float(scores[~defective].max())
    count = f"{int(defective.sum())} defective and {int((~defective).sum())} good validation pictures"
    if lowest > highest:
        between = _logit(highest) + SHARE * (_logit(lowest) - _logit(highest))
        threshold = round(float(np.clip(1 / (1 + np.exp(-between)), LEAST, MOST)), 4)
        if highest < threshold <= lowest:
            return threshold, (
                f"a third of the way, in logits, from the highest good score ({highest:.4f}) to the lowest "
                f"defect ({lowest:.4f}) of {count}: no miss, no false alarm"
            )
    threshold = np.floor(lowest * 0.9 * 1e4) / 1e4
    alarms = int((scores[~defective] >= threshold).sum())
    return float(threshold), (
        f"a tenth below the lowest defect ({lowest:.4f}) of {count}: no miss, {alarms} false alarms"
    )


def _logit(score: float) -> float:
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return float(np.log(bounded / (1 - bounded)))
