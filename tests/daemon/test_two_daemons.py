"""Two daemons with one camera name are not mixed: the second is refused, or the clash is told everywhere."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitor.bootstrap import delivery as build_delivery
from monitor.daemon.publisher import EventPublisher
from monitor.errors import MonitorError
from monitor.redis_streams.lease import CameraLeases
from monitor.settings import Settings
from monitor.telemetry.metrics import Metrics
from tests.support.daemon_process import coverage_of, wait_for
from tests.support.redis_servers import make_server, program

__all__ = ["make_server", "program"]
NEVER = threading.Event()


@pytest.fixture
def make_delivery(
    shipped_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], tuple[EventPublisher, CollectorRegistry]]]:
    """A daemon's way to Redis, whose claims live for a second instead of fifteen."""
    monkeypatch.setattr(build_delivery, "CameraLeases", partial(CameraLeases, ttl=1.0))
    made = list[EventPublisher]()

    def make(url: str, name: str) -> tuple[EventPublisher, CollectorRegistry]:
        settings = Settings.model_validate(
            {
                "camera": [{"name": "top", "source": "simulate:"}],
                "redis": {"url": url},
                "outbox": {"path": str(tmp_path / name / "outbox.db")},
            }
        )
        registry = CollectorRegistry()
        made.append(EventPublisher(settings, Metrics(registry, cameras=["top"])))
        return made[-1], registry

    yield make
    for delivery in made:
        if delivery._outbox is not None:
            delivery.flush(1)
        delivery.close()


def test_the_second_is_refused_while_redis_answers(
    make_delivery: Callable[[str, str], tuple[EventPublisher, CollectorRegistry]], valkey: str
) -> None:
    first, _ = make_delivery(valkey, "first")
    first.start(NEVER)
    second, _ = make_delivery(valkey, "second")
    with pytest.raises(MonitorError, match="camera top: another daemon"):
        second.start(NEVER)


def test_a_clash_that_shows_later_is_in_metrics_readiness_and_coverage_and_stops_nobody(
    make_delivery: Callable[[str, str], tuple[EventPublisher, CollectorRegistry]],
    make_server: Callable[..., Any],
) -> None:
    server = make_server()
    server.stop()
    both = [make_delivery(server.url, name) for name in ("first", "second")]
    for delivery, _ in both:
        delivery.start(NEVER)
    server.start()

    def clash(registry: CollectorRegistry) -> float | None:
        return registry.get_sample_value("defect_monitor_camera_name_clash", {"camera": "top"})

    wait_for(lambda: any(clash(registry) for _, registry in both), 20)
    (told,) = [delivery for delivery, registry in both if clash(registry)]
    (holder,) = [delivery for delivery, _ in both if delivery is not told]
    assert any(f"another daemon, {holder._daemon}" in trouble for trouble in told.problems())
    assert holder.problems() == []
    entry = {
        "kind": "clash",
        "state": "begun",
        "camera": "top",
        "daemon": told._daemon,
        "other": holder._daemon,
    }
    wait_for(lambda: any(entry.items() <= it.items() for it in coverage_of(server.url)), 20)
    holder.flush(1)
    holder.close()
    wait_for(lambda: not any(clash(registry) for _, registry in both), 20)
    wait_for(lambda: told.problems() == [], 20)
