"""Export how far consumer groups are behind the event stream, as last measured."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class GroupBacklog:
    """What a consumer group has not acknowledged.

    `lag`: entries that it was not given yet, None where the server cannot tell. `pending`: entries that it
    was given. `oldest_seconds`: age of the oldest of both, 0 if there is none. `has_missed`: whether entries
    were trimmed away before the group was done with them.
    """

    group: str
    lag: int | None
    pending: int
    oldest_seconds: float
    has_missed: bool


@dataclass(frozen=True, slots=True)
class StreamBacklog:
    """Entries of a stream, the number at which the oldest are trimmed away, the age of the oldest, groups."""

    entries: int
    max_entries: int
    oldest_seconds: float
    groups: Sequence[GroupBacklog] = ()


class StreamBacklogCollector(Collector):
    """Export what `latest` returns; no series while it is None. A group that is gone has no series."""

    def __init__(self, registry: CollectorRegistry, latest: Callable[[], StreamBacklog | None]) -> None:
        self._latest = latest
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without series."""
        return _families()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as last measured."""
        entries, limit, oldest, lag, pending, group_oldest, missed = families = _families()
        if (stream := self._latest()) is None:
            return families
        entries.add_metric([], stream.entries)
        limit.add_metric([], stream.max_entries)
        oldest.add_metric([], stream.oldest_seconds)
        for group in stream.groups:
            if group.lag is not None:
                lag.add_metric([group.group], group.lag)
            pending.add_metric([group.group], group.pending)
            group_oldest.add_metric([group.group], group.oldest_seconds)
            missed.add_metric([group.group], group.has_missed)
        return families


def _families() -> tuple[GaugeMetricFamily, ...]:
    def gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"defect_monitor_{name}", help_text, labels=labels)

    return (
        gauge("stream_events", "Events in the stream of Redis."),
        gauge("stream_max_events", "Events at which the oldest are trimmed away (redis.stream_maxlen)."),
        gauge("stream_oldest_seconds", "Age of the oldest event in the stream."),
        gauge("consumer_lag_events", "Events that the consumer group was not given yet.", "group"),
        gauge("consumer_pending_events", "Events that it was given and has not acknowledged.", "group"),
        gauge("consumer_oldest_seconds", "Age of the oldest event that it has not acknowledged.", "group"),
        gauge("consumer_missed", "1 if events were trimmed away before it was done with them.", "group"),
    )
