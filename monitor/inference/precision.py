"""Which answers of a cheaper network are too uncertain, so that the input is classified again in fp32.

Rounding shifts the logit, log(p / (1 - p)), of a score p: by up to 0.73 in bfloat16 (1,700 images of DAGM's
Class1, plain and corrupted). Near 0 and 1, where nearly all scores lie, that hardly moves the score; near the
threshold it changes verdicts. The score of a flagged frame is published, that of a clean one is not, and good
inputs of some surfaces score above 0.1: those are classified again only where the verdict might change.

`screened` is no arithmetic: the first layers alone answer where an input is clearly good and of a familiar
surface (`models.screening`). Every flagged input has its score from the whole network in single precision.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.models.novelty import NoveltyDetector

Precision = Literal["fp32", "bf16", "mixed-float16", "screened"]


_CONFIDENT_SCORE = 0.9
"""Scores above this were off by at most 0.015."""


_LOGIT_MARGIN = 2.0
"""In logits, on both sides of the threshold: three times the largest shift seen between 0.1 and 0.9."""


_AVERAGING_WINDOW = 100
"""Inputs over which the fraction of uncertain ones is averaged."""


class PrecisionFallback:
    """Decides which answers are uncertain, and whether that costs too much time.

    Those are the scores from `lowest` to `highest`, and features that `familiarity`, if given, does not know.
    """

    def __init__(self, lowest: float, highest: float, familiarity: NoveltyDetector | None = None) -> None:
        self._lowest, self._highest = lowest, highest
        self._familiarity = familiarity
        self._uncertain_fraction = 0.0

    def needs_recheck(
        self, scores: NDArray[np.float32], features: NDArray[np.float32] | None = None
    ) -> NDArray[np.bool_]:
        """Mark which of `scores` (n,), with `features` (n, c), are uncertain: (n,).

        Without `features` the scores decide alone. A score that is not a number is uncertain.
        """
        uncertain = ~((scores < self._lowest) | (scores > self._highest))
        if self._familiarity is not None and features is not None:
            uncertain |= self._familiarity.is_novel(features)
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
    lowest, highest = (shift_score(threshold, shift) for shift in (-_LOGIT_MARGIN, _LOGIT_MARGIN))
    return lowest, max(_CONFIDENT_SCORE, highest)


def shift_score(score: float, logits: float) -> float:
    """Return `score`, 0..1, moved by `logits`."""
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return 1 / (1 + math.exp(-(math.log(bounded / (1 - bounded)) + logits)))
