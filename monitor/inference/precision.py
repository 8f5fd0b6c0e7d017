"""Which answers of a cheaper network are too uncertain, so that the input is classified again in fp32.

Rounding shifts the logit, log(p / (1 - p)), of a score p: by up to 0.73 in bfloat16 (1,700 images of DAGM's
Class1, plain and corrupted). Near 0 and 1, where nearly all scores lie, that hardly moves the score; near the
threshold it changes verdicts. The score of a flagged frame is published, that of a clean one is not, and good
inputs of some surfaces score above 0.1: those are classified again only where the verdict might change.

`screened` is no arithmetic: an early exit answers where an input is clearly good (`models.screening`). The
score of such an input is that of the exit. All other inputs are classified by the whole network in fp32.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Precision = Literal["fp32", "bf16", "mixed-float16", "screened"]


Scores = np.float32 | NDArray[np.float32]


_CONFIDENT_SCORE = 0.9
"""Scores above this were off by at most 0.015."""


_LOGIT_MARGIN = 2.0
"""In logits, on both sides of the threshold: three times the largest shift seen between 0.1 and 0.9."""


_AVERAGING_WINDOW = 100
"""Inputs over which the fraction of uncertain ones is averaged."""


_TRIED_AGAIN = 50
"""Of so many passes by the whole network alone, one tries the early exit again."""


class PrecisionFallback:
    """Decides which scores are uncertain, and whether that costs too much time.

    `is_early_exit`: the scores are those of an early exit. The whole network's scores do not tell which of
    them would be uncertain.
    """

    def __init__(self, *, is_early_exit: bool = False) -> None:
        self._is_early_exit = is_early_exit
        self._uncertain_fraction = 0.0
        self._skipped = 0

    def needs_recheck(
        self, scores: NDArray[np.float32], bands: Sequence[tuple[float, float]]
    ) -> NDArray[np.bool_]:
        """Mark which of `scores` (n,) are uncertain: (n,). `bands` are (lowest, highest) for each score."""
        lowest, highest = np.array(bands, np.float32).reshape(-1, 2).T
        uncertain = (scores >= lowest) & (scores <= highest)
        for one in uncertain:
            self._uncertain_fraction += (float(one) - self._uncertain_fraction) / _AVERAGING_WINDOW
        return uncertain

    def is_worthwhile(self, reduced: float, exact: float, count: int) -> bool:
        """Return whether reduced precision saves time for `count` inputs, or an early exit is to be tried.

        It takes `reduced` seconds for all of them, then `exact` for each that is likely to be uncertain;
        single precision alone takes `exact` for each.
        """
        if reduced + self._uncertain_fraction * count * exact < count * exact:
            return True
        self._skipped = (self._skipped + 1) % _TRIED_AGAIN
        return self._is_early_exit and self._skipped == 0


def recheck_band(threshold: float, screening_limit: float | None = None) -> tuple[float, float]:
    """Return the (lowest, highest) score, each 0..1, between which a reduced precision is too uncertain.

    With `screening_limit`, that of an early exit, all scores from there on are; with a `threshold` below it,
    all scores.
    """
    if screening_limit is not None:
        return (screening_limit if threshold >= screening_limit else 0.0), 1.0
    lowest, highest = (shift_score(threshold, shift) for shift in (-_LOGIT_MARGIN, _LOGIT_MARGIN))
    return lowest, max(_CONFIDENT_SCORE, highest)


def shift_score(score: float, logits: float) -> float:
    """Return `score`, 0..1, moved by `logits`."""
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return 1 / (1 + math.exp(-(math.log(bounded / (1 - bounded)) + logits)))


def score_error(
    given: Scores, expected: Scores, threshold: float, precision: Precision
) -> NDArray[np.float32]:
    """Return how far scores (n,) `given` in `precision` are off those `expected` in single precision: (n,).

    An early exit answers for good inputs alone, and with a score of its own: there it cannot be off.
    """
    error = np.abs(given - expected)
    is_own = (given < threshold) & (expected < threshold)
    return np.where(is_own, np.float32(0), error) if precision == "screened" else error
