"""Two daemons with one camera name that both started without Redis: the conflict is reported everywhere."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitor.daemon.delivery_metrics import DeliveryRecorder
from monitor.daemon.publisher import EventPublisher
from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sender import SinkSender
from monitor.delivery.sinks.redis import RedisSink
from monitor.events.incidents import IncidentTracker, IncidentWindow
from monitor.redis_streams.lease import CameraLeases
from monitor.telemetry.metrics import Metrics
from tests.support.daemon_process import coverage_of, wait_for
from tests.support.redis_servers import make_server, program

__all__ = ["make_server", "program"]
NEVER = threading.Event()


@dataclass
class Delivery:
    """The parts of a daemon that reach Redis, with leases of a second instead of fifteen."""

    name: str
    outbox: Outbox
    publisher: EventPublisher
    leases: CameraLeases
    registry: CollectorRegistry

    def start(self) -> None:
        self.leases.start(NEVER)
        self.outbox.start()

    def close(self) -> None:
        self.publisher.finish(1)
        self.leases.close()

    def conflict(self) -> float | None:
        return self.registry.get_sample_value("defect_monitor_camera_name_clash", {"camera": "top"})


@pytest.fixture
def make_delivery() -> Iterator[Callable[[str, str], Delivery]]:
    made: list[Delivery] = []

    def make(url: str, name: str) -> Delivery:
        registry = CollectorRegistry()
        metrics = Metrics(registry, cameras=["top"])
        sink = RedisSink(url, daemon=name)
        queue = OutboxQueue([sink.name])
        outbox = Outbox(queue, [SinkSender(sink, queue, DeliveryRecorder(metrics))])
        publisher = EventPublisher(outbox, IncidentTracker(IncidentWindow()), name, metrics)
        leases = CameraLeases(url, "defects", name, ["top"], on_conflict=publisher.on_conflict, ttl=1.0)
        made.append(Delivery(name, outbox, publisher, leases, registry))
        return made[-1]

    yield make
    for delivery in made:
        delivery.close()


def test_a_conflict_that_shows_later_is_in_metrics_readiness_and_coverage_and_stops_nobody(
    make_delivery: Callable[[str, str], Delivery], make_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = make_server()
    server.stop()
    both = [make_delivery(server.url, name) for name in ("first", "second")]
    for delivery in both:
        delivery.start()
    server.start()
    wait_for(lambda: any(delivery.conflict() for delivery in both), 20)
    (informed,) = [delivery for delivery in both if delivery.conflict()]
    (holder,) = [delivery for delivery in both if delivery is not informed]
    assert any(f"another daemon, {holder.name}" in problem for problem in informed.publisher.conflicts())
    assert holder.publisher.conflicts() == []
    entry = {
        "kind": "clash",
        "state": "begun",
        "camera": "top",
        "daemon": informed.name,
        "other": holder.name,
    }
    wait_for(lambda: any(entry.items() <= it.items() for it in coverage_of(server.url)), 20)
    holder.close()
    wait_for(lambda: not any(delivery.conflict() for delivery in both), 20)
    wait_for(lambda: informed.publisher.conflicts() == [], 20)
