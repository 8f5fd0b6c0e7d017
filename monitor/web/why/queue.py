"""A bounded queue of explanations: one is computed at a time, each in a process that ends with it."""

import logging
import subprocess
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from monitor.errors import MonitorError, first_line
from monitor.web.why.order import ExplanationOrder

logger = logging.getLogger(__name__)


_TIMEOUT = 300.0
"""Seconds after which a computation is given up; Score-CAM of all maps takes a minute on two busy cores."""

_MAX_RESULTS = 16
"""Results that are kept, the latest ones."""

JobKey = tuple[str, str]
"""An event's entry and the method."""


class BusyError(MonitorError):
    """As many explanations are queued as may be."""


@dataclass(frozen=True, slots=True)
class ExplanationStatus:
    """An explanation as far as it is: `picture` is a JPEG once it is done, `problem` says why it failed."""

    state: Literal["queued", "running", "done", "failed"]
    position: int = 0
    picture: bytes | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    key: JobKey
    order: ExplanationOrder
    jpeg: bytes


Compute = Callable[[ExplanationOrder, bytes], bytes]
"""Explains a frame, JPEG to JPEG. Raises MonitorError."""


class ExplanationQueue:
    """Computes explanations in a thread, one at a time; at most `limit` wait. Callable from any thread."""

    def __init__(self, compute: Compute | None = None, *, limit: int = 4) -> None:
        self._workers = _WorkerProcess()
        self._compute = compute or self._workers.compute
        self._limit = limit
        self._waiting: deque[_Job] = deque()
        self._running: JobKey | None = None
        self._results: OrderedDict[JobKey, ExplanationStatus] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, key: JobKey, order: ExplanationOrder, jpeg: bytes) -> None:
        """Queue an explanation, unless it is queued or done. Raises BusyError."""
        with self._changed:
            known = self.find(key)
            if known is not None and known.state != "failed":
                return
            if len(self._waiting) >= self._limit:
                raise BusyError(f"{self._limit} explanations wait already; try again when one is done")
            self._results.pop(key, None)
            self._waiting.append(_Job(key, order, jpeg))
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="why", daemon=True)
                self._thread.start()

    def find(self, key: JobKey) -> ExplanationStatus | None:
        """Return how far an explanation is; None if it was never ordered, or is forgotten."""
        with self._changed:
            if key == self._running:
                return ExplanationStatus("running")
            for position, job in enumerate(self._waiting, 1):
                if job.key == key:
                    return ExplanationStatus("queued", position)
            return self._results.get(key)

    def close(self) -> None:
        """Drop what is queued, and end the computation that runs."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._workers.kill()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                result = ExplanationStatus("done", picture=self._compute(job.order, job.jpeg))
            except MonitorError as error:
                result = ExplanationStatus("failed", problem=first_line(error))
            except Exception:
                logger.exception("an explanation failed")
                result = ExplanationStatus(
                    "failed", problem="unexpected failure; the page's log has the details"
                )
            with self._changed:
                self._running = None
                self._results[job.key] = result
                while len(self._results) > _MAX_RESULTS:
                    self._results.popitem(last=False)

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            job = self._waiting.popleft()
            self._running = job.key
            return job


class _WorkerProcess:
    """Explains each frame in a process of its own, so that TensorFlow's memory goes with it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def compute(self, order: ExplanationOrder, jpeg: bytes) -> bytes:
        command = [sys.executable, "-P", "-m", "monitor.web.why.worker"]
        process = subprocess.Popen(  # noqa: S603 (this interpreter, this module)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._process = process
        try:
            picture, errors = process.communicate(
                order.model_dump_json().encode() + b"\n" + jpeg, timeout=_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            raise MonitorError(f"the explanation took longer than {_TIMEOUT:.0f} s") from None
        finally:
            process.kill()
            process.wait()
            self._process = None
        lines = errors.decode(errors="replace").strip().splitlines()
        if process.returncode == 1 and lines:
            raise MonitorError(lines[-1])
        if process.returncode != 0 or not picture:
            logger.error("the process of an explanation ended with %s: %s", process.returncode, lines[-20:])
            raise MonitorError(f"the process of the explanation ended with code {process.returncode}")
        return picture

    def kill(self) -> None:
        """End the process that runs, if one does."""
        if (process := self._process) is not None:
            process.kill()
