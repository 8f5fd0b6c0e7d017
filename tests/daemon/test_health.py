"""Health: a thread that failed, ended or hangs shows; a slow disk withholds no keep-alive."""

import time
from types import SimpleNamespace

import pytest

from monitor.daemon import health as health_module
from monitor.daemon.health import Health
from monitor.telemetry.supervised_thread import SupervisedThread


class OneRun:
    """A loop that ends at once, with an error or without."""

    def __init__(self, error: Exception | None = None) -> None:
        self.last_heartbeat = time.monotonic()
        self._error = error

    def run(self) -> None:
        if self._error is not None:
            raise self._error


def health_of(
    inspection: SupervisedThread, other: SupervisedThread, stopped: list[str], problems: list[str]
) -> Health:
    cameras = SimpleNamespace(heartbeats=lambda: {"camera a": time.monotonic()})
    coverage = SimpleNamespace(states=lambda: {"a": "up", "b": "stalled"})
    return Health(
        cameras,  # type: ignore[arg-type]
        coverage,  # type: ignore[arg-type]
        inspection=[inspection],
        threads=[other],
        stopped_threads=lambda: stopped,
        problems=[lambda: problems],
    )


def ran(name: str, error: Exception | None = None) -> SupervisedThread:
    thread = SupervisedThread(name, OneRun(error))
    thread.start()
    thread.join(5)
    return thread


def test_all_is_well() -> None:
    health = health_of(ran("judge"), ran("claims"), [], [])
    health.set_ready(True)
    assert health.liveness().ok
    assert health.failure() is None
    assert set(health.inspection_heartbeats()) == {"judge", "camera a"}
    assert health.readiness().report == {
        "cameras": {"a": "up", "b": "stalled"},
        "degraded": ["camera b is stalled"],
        "standby": False,
    }


def test_a_standby_is_alive_not_ready_and_names_the_holder() -> None:
    health = health_of(ran("judge"), ran("claims"), [], ["Redis is slow"])
    health.set_standby({"top": "line1-abcd"})
    reason = "standby: camera top is inspected by daemon line1-abcd"
    assert health.liveness().ok
    assert health.liveness().report["standby"] is True
    assert not health.readiness().ok
    assert health.readiness().report["degraded"] == [reason, "Redis is slow"]
    assert health.status() == f"{reason}; Redis is slow"
    health.set_standby({})
    assert health.liveness().report["standby"] is False
    assert health.status() == "watching 2 cameras; Redis is slow"


@pytest.mark.parametrize("name", ["judge", "claims", "outbox"])
def test_a_thread_that_failed_or_ended_shows_and_only_inspection_ends_the_daemon(name: str) -> None:
    error = RuntimeError("broken")
    health = health_of(
        ran("judge", error if name == "judge" else None),
        ran("claims", error if name == "claims" else None),
        ["outbox"] if name == "outbox" else [],
        [],
    )
    report = health.liveness()
    assert not report.ok
    assert report.report["failed"] == [name]
    assert (health.failure() is error) == (name == "judge")


def test_a_thread_that_hangs_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    health = health_of(ran("judge"), ran("claims"), [], [])
    health.set_ready(True)
    health.beat()
    monkeypatch.setattr(health_module, "STUCK_AFTER", -1.0)
    report = health.liveness()
    assert not report.ok
    assert report.report["stuck"] == ["judge", "camera a", "main"]
