"""Which scores in reduced precision are not to be trusted, so that single precision is asked again.

Rounding shifts the logit, log(p / (1 - p)), of a score p: by up to 0.65 in bfloat16 (1,700 images of DAGM's
Class1, plain and corrupted). Near 0 and 1, where nearly all scores lie, that is less than the score may be
off by; in between it is more, and near the threshold it changes verdicts.
"""

import math

_SURE = 0.1
"""Scores nearer to 0 or 1 than this were off by 0.015 at most."""
_MARGIN = 2.0
"""In logits, on both sides of the threshold: three times the largest shift seen."""


def doubtful(threshold: float) -> tuple[float, float]:
    """The (lowest, highest) score, each 0..1, between which one in reduced precision is not to be trusted."""
    bounded = min(max(threshold, 1e-6), 1 - 1e-6)
    logit = math.log(bounded / (1 - bounded))
    lowest, highest = (1 / (1 + math.exp(-(logit + shift))) for shift in (-_MARGIN, _MARGIN))
    return min(_SURE, lowest), max(1 - _SURE, highest)
