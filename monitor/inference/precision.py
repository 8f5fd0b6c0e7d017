"""Which scores of a reduced precision are too uncertain, so that the input is classified again in fp32.

Rounding shifts the logit, log(p / (1 - p)), of a score p: by up to 0.73 in bfloat16 (1,700 images of DAGM's
Class1, plain and corrupted). Near 0 and 1, where nearly all scores lie, that hardly moves the score; near the
threshold it changes verdicts. The score of a flagged frame is published, that of a clean one is not, and good
inputs of some surfaces score above 0.1: those are classified again only where the verdict might change.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Precision = Literal["fp32", "bf16", "mixed-float16"]


_CONFIDENT_SCORE = 0.9
"""Scores above this were off by at most 0.015."""


_LOGIT_MARGIN = 2.0
"""In logits, on both sides of the threshold: three times the largest shift seen between 0.1 and 0.9."""


_AVERAGING_WINDOW = 100
"""Inputs over which the fraction of uncertain ones is averaged."""


class PrecisionFallback:
    """Decides which scores are uncertain, and whether that costs too much time."""

    def __init__(self) -> None:
        self._uncertain_fraction = 0.0

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
        """Return whether reduced precision saves time for `count` inputs.

        It takes `reduced` seconds for all of them, then `exact` for each that is likely to be uncertain;
        single precision alone takes `exact` for each.
        """
        return reduced + self._uncertain_fraction * count * exact < count * exact


def recheck_band(threshold: float) -> tuple[float, float]:
    """Return the (lowest, highest) score, each 0..1, between which a reduced precision is too uncertain."""
    bounded = min(max(threshold, 1e-6), 1 - 1e-6)
    logit = math.log(bounded / (1 - bounded))
    lowest, highest = (1 / (1 + math.exp(-(logit + shift))) for shift in (-_LOGIT_MARGIN, _LOGIT_MARGIN))
    return lowest, max(_CONFIDENT_SCORE, highest)
