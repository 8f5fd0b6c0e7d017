"""Bucket borders of the histograms, and quantiles of what they counted."""

from collections.abc import Mapping

LATENCY_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 1 / 120, 0.01, 1 / 60),
    *(0.02, 0.025, 1 / 30, 0.04, 0.05, 1 / 15),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 2.0, 3.0, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0),
)
"""Bucket borders in seconds. The frame periods of 120, 100, 60, 50, 40, 30, 25, 20, 15 and 10 frames a second
are among them. The Python client offers no native histograms."""


SCORE_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Bucket borders for scores, dense at both ends, where a good network's scores lie and where drift shows."""


NOVELTY_BUCKETS = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Bucket borders for novelty, dense below the limit, where drift shows first."""


def histogram_quantile(counts: Mapping[float, float], share: float) -> float:
    """Return the value below which the fraction `share` (0..1) of the observations lies, linear in a bucket.

    `counts` holds, for each upper border, how many observations are at most that, as Prometheus counts them.
    NaN without observations; the last finite border for what lies beyond it, since no more is known.
    """
    borders = sorted(counts)
    total = counts[borders[-1]] if borders else 0
    if not total:
        return float("nan")
    lower, below = 0.0, 0.0
    for border in borders:
        if counts[border] >= share * total and counts[border] > below:
            if border == float("inf"):
                return lower
            return lower + (border - lower) * (share * total - below) / (counts[border] - below)
        lower, below = border, counts[border]
    return lower
