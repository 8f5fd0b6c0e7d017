"""The score from which a picture counts as defective."""

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 0.05, 0.95
"""Bounds of a threshold: a few pictures cannot prove more."""


def choose_threshold(scores: NDArray[np.float32], defective: NDArray[np.bool_]) -> tuple[float, str]:
    """A threshold without a miss among `scores` (n,), 0..1, of pictures labelled `defective` (n,), and why.

    Where good and defective pictures keep apart it lies midway between them on the logit scale, on which
    a network's confidence is spread evenly; else just below the lowest defect, whatever false alarms that
    costs.
    """
    lowest, highest = float(scores[defective].min()), float(scores[~defective].max())
    count = f"{int(defective.sum())} defective and {int((~defective).sum())} good validation pictures"
    if lowest > highest:
        middle = (_logit(lowest) + _logit(highest)) / 2
        threshold = float(np.clip(1 / (1 + np.exp(-middle)), LEAST, MOST))
        if highest < threshold <= lowest:
            return round(threshold, 4), (
                f"midway, in logits, between the lowest defect ({lowest:.4f}) and the highest good score "
                f"({highest:.4f}) of {count}, clean and spoiled: no miss, no false alarm"
            )
    threshold = np.floor(lowest * 0.9 * 1e4) / 1e4
    alarms = int((scores[~defective] >= threshold).sum())
    return float(threshold), (
        f"a tenth below the lowest defect ({lowest:.4f}) of {count}, clean and spoiled: no miss, "
        f"{alarms} false alarms"
    )


def _logit(score: float) -> float:
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return float(np.log(bounded / (1 - bounded)))
