"""The contract of a sink: where the outbox delivers to."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from monitor.delivery.storage import OutboxEntry


class DeliveryResult(NamedTuple):
    """How many entries were acknowledged, from the first on, and how many events went without their images,
    by camera."""

    delivered: int
    stripped: Mapping[str, int] = {}


class Sink(Protocol):
    """Delivers messages to one broker. Only its own sender's thread calls it.

    `name` names its cursor and its metrics; it is the same after a restart. Keys, counters and connections
    are the sink's own affair.
    """

    name: str

    def check(self) -> None:
        """Raise DeliveryError unless the broker would take messages now."""

    def deliver(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
        """Deliver in order and stop at the first entry that fails; acknowledge at least one.

        Each entry is delivered whole or not at all. One that was delivered before, as its position shows, is
        acknowledged without another effect. Raises DeliveryError if the broker is away or refuses everything,
        which is retried without end; any other exception means that it cannot take this very message.
        """

    def close(self) -> None:
        """Close connections; a later `deliver` opens them again."""
