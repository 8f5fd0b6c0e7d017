"""A sink in memory: for tests and for programs that want the events without a server."""

from collections.abc import Sequence

from monitor.delivery.sinks.base import DeliveryResult
from monitor.delivery.storage import OutboxEntry, Position
from monitor.errors import DeliveryError
from monitor.events.messages import EventMessage, NoticeMessage


class MemorySink:
    """Keeps each message once. `failure`, while set, is raised instead of delivering."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.events: list[EventMessage] = []
        self.notices: list[NoticeMessage] = []
        self.failure: DeliveryError | None = None
        self._delivered: set[Position] = set()

    def check(self) -> None:
        """Raise `failure` if it is set."""
        if self.failure is not None:
            raise self.failure

    def deliver(self, batch: Sequence[OutboxEntry]) -> DeliveryResult:
        """Keep the messages that are new."""
        self.check()
        for entry in batch:
            if entry.position in self._delivered:
                continue
            self._delivered.add(entry.position)
            if isinstance(entry.message, EventMessage):
                self.events.append(entry.message)
            else:
                self.notices.append(entry.message)
        return DeliveryResult(len(batch))

    def close(self) -> None:
        """Do nothing: there is no connection."""
