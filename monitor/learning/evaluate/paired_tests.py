"""Two models on the same images: what their differing verdicts prove, and how many images would prove it.

Exact, for the few images that people label. Pure Python.
"""

import math
from collections.abc import Callable

CONFIDENCE = 0.95

POWER = 0.8

MAX_DISCORDANT = 500
"""Differing verdicts beyond which nobody labels on to prove a difference."""


def clopper_pearson(hits: int, trials: int) -> tuple[float, float]:
    """Return the exact 95 % bounds of a fraction seen as `hits` of `trials` (Clopper and Pearson 1934)."""
    if not trials:
        return math.nan, math.nan
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if not hits else _solve(lambda p: 1 - binomial_cdf(hits - 1, trials, p) - tail)
    high = 1.0 if hits == trials else _solve(lambda p: tail - binomial_cdf(hits, trials, p))
    return low, high


def binomial_cdf(hits: int, trials: int, probability: float) -> float:
    """Return the probability of at most `hits` of `trials`, each of `probability`."""
    if hits < 0:
        return 0.0
    if hits >= trials or probability <= 0:
        return 1.0
    if probability >= 1:
        return 0.0
    log_p, log_q = math.log(probability), math.log1p(-probability)
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(i + 1) - math.lgamma(trials - i + 1) + i * log_p + (trials - i) * log_q)
        for i in range(hits + 1)
    )


def mcnemar(gains: int, losses: int) -> float:
    """Return the two-sided p-value of as uneven a split of `gains` and `losses` by chance alone.

    `gains` images are right in the second model only, `losses` in the first only: the sign test on these
    (McNemar 1947, exact form).
    """
    return min(1.0, 2 * binomial_cdf(min(gains, losses), gains + losses, 0.5))


def images_needed(gains: int, losses: int, images: int) -> int | None:
    """Return how many images show the difference with a power of 80 %, at the rates seen on `images`.

    None where so many would be needed that the models count as equal.
    """
    discordant = gains + losses
    if not discordant or gains == losses:
        return None
    share = max(gains, losses) / discordant
    for count in range(1, MAX_DISCORDANT + 1):
        limit = _most_losses(count)
        if limit >= 0 and binomial_cdf(limit, count, 1 - share) >= POWER:
            return math.ceil(count * images / discordant)
    return None


def images_to_exclude(rate: float) -> int:
    """Return how many images without a loss show with 95 % that losses are rarer than `rate`, 0..1."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-rate))


def _most_losses(count: int) -> int:
    """Return with how few of `count` differing verdicts against it a model is better; -1 if with none."""
    limit, total, term = -1, 0.0, 0.5**count
    for losses in range(count // 2 + 1):
        total += term
        if 2 * total > 1 - CONFIDENCE:
            break
        limit = losses
        term *= (count - losses) / (losses + 1)
    return limit


def _solve(rising: Callable[[float], float]) -> float:
    """Return where a function of a probability that rises through 0 does so, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
