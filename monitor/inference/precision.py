"""Which scores in reduced precision are not to be trusted, so that single precision is asked again.

Rounding shifts the logit, log(p / (1 - p)), of a score p: by up to 0.73 in bfloat16 (1,700 images of DAGM's
Class1, plain and corrupted). Near 0 and 1, where nearly all scores lie, the score hardly moves by that; near
the threshold it changes verdicts. Of a flagged frame the score itself is published, of a clean one it is not,
and good parts of some surfaces score above 0.1: they are asked again only where the verdict might change.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_CONFIDENT_SCORE = 0.9
"""Scores above this were off by 0.015 at most."""


_LOGIT_MARGIN = 2.0
"""In logits, on both sides of the threshold: three times the largest shift seen between 0.1 and 0.9."""


_AVERAGING_WINDOW = 100
"""Pictures over which the share of doubtful ones is averaged."""


class PrecisionFallback:
    """Which scores from `lowest` to `highest` (0..1) were to be asked again lately, and whether that pays."""

    def __init__(self, lowest: float, highest: float) -> None:
        self._lowest, self._highest = lowest, highest
        self._share = 0.0

    def needs_recheck(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(n,) which of `scores` (n,) are doubtful."""
        found = (scores >= self._lowest) & (scores <= self._highest)
        for one in found:
            self._share += (float(one) - self._share) / _AVERAGING_WINDOW
        return found

    def is_worthwhile(self, reduced: float, exact: float, count: int) -> bool:
        """Whether asking `count` pictures in reduced precision first is quicker than single precision alone.

        `reduced` seconds for all of them, then `exact` for each that is likely to be doubtful.
        """
        return reduced + self._share * count * exact < count * exact


def recheck_band(threshold: float) -> tuple[float, float]:
    """The (lowest, highest) score, each 0..1, between which one in reduced precision is not to be trusted."""
    bounded = min(max(threshold, 1e-6), 1 - 1e-6)
    logit = math.log(bounded / (1 - bounded))
    lowest, highest = (1 / (1 + math.exp(-(logit + shift))) for shift in (-_LOGIT_MARGIN, _LOGIT_MARGIN))
    return lowest, max(_CONFIDENT_SCORE, highest)


Precision = Literal["fp32", "bf16", "mixed-float16"]
