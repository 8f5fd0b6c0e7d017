"""A sink in memory: for tests and for programs that want the events without a server."""

from collections import Counter
from collections.abc import Sequence

from monitor.errors import DeliveryError
from monitor.events.messages import EventMessage, NoticeMessage, OutboxMessage


class MemorySink:
    """Keeps what it is given, each id once. `failure` is raised instead of delivering while it is set."""

    def __init__(self) -> None:
        self.parcels: list[EventMessage] = []
        self.notices: list[NoticeMessage] = []
        self.failure: DeliveryError | None = None
        self._seen: set[str] = set()

    def deliver(self, items: Sequence[OutboxMessage]) -> int:
        """Keep the items that are new."""
        if self.failure is not None:
            raise self.failure
        for item in items:
            if item.id in self._seen:
                continue
            self._seen.add(item.id)
            if isinstance(item, EventMessage):
                self.parcels.append(item)
            else:
                self.notices.append(item)
        return len(items)

    def withheld(self) -> Counter[str]:
        """None: memory has room."""
        return Counter()

    def close(self) -> None:
        """Nothing to let go of."""
