"""Quantiles of what a histogram counted."""

from collections.abc import Mapping


def quantile(counts: Mapping[float, float], share: float) -> float:
    """The value below which `share` (0..1) of the observations lie, linear within a bucket.

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
