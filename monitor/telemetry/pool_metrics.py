"""Metrics of the pool that classifies for this daemon."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter


def count_pool_answers(registry: CollectorRegistry) -> Callable[[str], None]:
    """Count batches by what the pool did: it `answered`, or was `busy` or `away`."""
    about = "Batches of frames, by what the pool did: answered, or it was busy or away."
    counter = Counter("pool_batches_total", about, ["outcome"], namespace="defect_monitor", registry=registry)
    for outcome in ("answered", "busy", "away"):
        counter.labels(outcome)
    return lambda outcome: counter.labels(outcome).inc()
