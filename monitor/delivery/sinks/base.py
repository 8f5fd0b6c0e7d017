"""Where the outbox delivers to."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from monitor.events.messages import OutboxMessage


class Sink(Protocol):
    """Takes parcels for good. Only the outbox's one thread calls it."""

    def deliver(self, items: Sequence[OutboxMessage]) -> int:
        """Deliver in order, stop at the first that fails; give how many were acknowledged, at least one.

        Each item is delivered whole or not at all, and an item delivered before, known by its id, is
        acknowledged without doing anything. Raises DeliveryError if not even the first was delivered.
        """

    def withheld(self) -> Counter[str]:
        """How many events were delivered without their pictures since last asked, by camera."""

    def close(self) -> None:
        """Let go of connections; a later `deliver` opens them anew."""
