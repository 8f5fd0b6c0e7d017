"""Quantiles of what a histogram counted."""

from collections import Counter
from collections.abc import Mapping

from prometheus_client import CollectorRegistry


def histogram_quantile(counts: Mapping[float, float], share: float) -> float:
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


def quantiles(registry: CollectorRegistry, histogram: str) -> tuple[float, float]:
    """Median and 99th percentile of a histogram over all labels, linear within a bucket; NaN if empty."""
    counts: Counter[float] = Counter()
    for family in registry.collect():
        for sample in family.samples:
            if sample.name == f"{histogram}_bucket":
                counts[float(sample.labels["le"])] += int(sample.value)
    return histogram_quantile(counts, 0.5), histogram_quantile(counts, 0.99)
