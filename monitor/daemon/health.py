"""Whether the daemon is alive and ready: for `/healthz`, `/readyz` and the service manager."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from monitor.daemon.cameras import CameraManager
from monitor.daemon.coverage import UNOBSERVED_STATES, CoverageRecorder
from monitor.telemetry.http_server import HealthReport
from monitor.telemetry.supervised_thread import SupervisedThread

STUCK_AFTER = 60.0
"""Seconds without progress after which a thread counts as stuck; a batch takes a fraction of one."""


class Health:
    """Watches every long-lived thread and collects what is degraded. Callable from any thread.

    - `inspection`: the threads without which nothing is inspected; those of the cameras are added
    - `threads`: the other supervised threads
    - `stopped_threads`: returns the names of further threads that should run and do not
    - `problems`: each returns what is wrong with its part, one sentence each
    """

    def __init__(
        self,
        cameras: CameraManager,
        coverage: CoverageRecorder,
        *,
        inspection: Sequence[SupervisedThread],
        threads: Sequence[SupervisedThread],
        stopped_threads: Callable[[], Sequence[str]],
        problems: Sequence[Callable[[], Sequence[str]]],
    ) -> None:
        self._cameras = cameras
        self._coverage = coverage
        self._inspection = tuple(inspection)
        self._threads = tuple(threads)
        self._stopped_threads = stopped_threads
        self._problems = tuple(problems)
        self._main_heartbeat: float | None = None
        self._ready = threading.Event()
        self._lease_holders: Mapping[str, str] = {}
        self.reload_failure: str | None = None

    def beat(self) -> None:
        """Record that the main loop makes progress."""
        self._main_heartbeat = time.monotonic()

    def set_standby(self, lease_holders: Mapping[str, str]) -> None:
        """Record which other daemons inspect our cameras, so that this one stands by; empty: none does."""
        self._lease_holders = lease_holders

    @property
    def is_standby(self) -> bool:
        """Whether other daemons inspect our cameras."""
        return bool(self._lease_holders)

    def set_reload_failure(self, failure: str | None) -> None:
        """Record why the last reload changed nothing; None: it was applied."""
        self.reload_failure = failure

    def set_ready(self, is_ready: bool) -> None:
        """Record whether every part runs and every camera was tried."""
        if is_ready:
            self._ready.set()
        else:
            self._ready.clear()

    @property
    def is_ready(self) -> bool:
        """Whether every part runs and every camera was tried."""
        return self._ready.is_set()

    def wait_until_ready(self, timeout: float) -> bool:
        """Wait until the daemon is ready, `timeout` seconds at most; return whether it is."""
        return self._ready.wait(timeout)

    def failure(self) -> Exception | None:
        """Return the exception that ended a thread without which nothing is inspected."""
        return next((thread.failure for thread in self._inspection if thread.failure is not None), None)

    def inspection_heartbeats(self) -> Mapping[str, float]:
        """Return when each thread that inspects last made progress (monotonic seconds); empty until ready.

        These alone decide about the watchdog: a slow disk or a broker that hangs must not stop inspection.
        """
        if not self.is_ready:
            return {}
        threads = {thread.name: thread.last_heartbeat for thread in self._inspection}
        return {**threads, **self._cameras.heartbeats()}

    def liveness(self) -> HealthReport:
        """Report threads that failed, ended unexpectedly, or made no progress for a minute."""
        now = time.monotonic()
        heartbeats = dict(self.inspection_heartbeats())
        heartbeats |= {it.name: it.last_heartbeat for it in self._threads if it.is_alive()}
        if self._main_heartbeat is not None:
            heartbeats["main"] = self._main_heartbeat
        stuck = [name for name, at in heartbeats.items() if now - at > STUCK_AFTER]
        failed = [it.name for it in (*self._inspection, *self._threads) if it.failure is not None]
        failed += self._stopped_threads()
        report = {"stuck": stuck, "failed": failed, "standby": self.is_standby}
        return HealthReport(not stuck and not failed, report)

    def readiness(self) -> HealthReport:
        """Report whether the daemon is ready, the cameras' states, and what is degraded."""
        cameras = dict(self._coverage.states()) if self.is_ready else {}
        report = {"cameras": cameras, "degraded": self.degraded(), "standby": self.is_standby}
        return HealthReport(self.is_ready, report)

    def degraded(self) -> list[str]:
        """Return what is degraded, or whom a standby waits for, a sentence each."""
        holders = self._lease_holders.items()
        standby = [f"standby: camera {name} is inspected by daemon {other}" for name, other in holders]
        states = self._coverage.states() if self.is_ready else {}
        found = [f"camera {name} is {state}" for name, state in states.items() if state in UNOBSERVED_STATES]
        if self.reload_failure is not None:
            found.append(f"the last reload failed, the old settings stay in force: {self.reload_failure}")
        return standby + found + [problem for problems in self._problems for problem in problems()]

    def status(self) -> str:
        """Return one line on what is inspected and what is degraded."""
        if self.is_standby:
            return "; ".join(self.degraded())
        count = len(self._coverage.states())
        return "; ".join((f"watching {count} camera{'' if count == 1 else 's'}", *self.degraded()))
