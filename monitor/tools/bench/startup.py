"""Times the daemon from its start to /readyz, next to importing TensorFlow alone."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from monitor.inference.backends.base import BackendName, is_installed
from monitor.tools.bench.daemon_process import run_daemon

_NO_REDIS = "redis://127.0.0.1:1/0"  # the daemon starts without Redis


_NAMES: tuple[BackendName, ...] = ("tensorflow", "openvino")


@dataclass(frozen=True, slots=True)
class StartupTiming:
    """Seconds, the median of several, and their ratio to importing TensorFlow alone."""

    what: str
    seconds: float
    lowest: float
    highest: float
    to_import: float


def run(rounds: int = 5) -> list[StartupTiming]:
    """Measure in turn; the first start of each kind, which may prepare the network, is a row of its own."""
    cases: dict[str, Callable[[], float]] = {"import tensorflow": _import}
    for name in ("auto", *(name for name in _NAMES if is_installed(name))):
        cases[f"start to /readyz, runtime = {name}"] = partial(_start, name)
    first = {what: work() for what, work in cases.items()}
    times: Mapping[str, list[float]] = {what: [] for what in cases}
    for _ in range(rounds):
        for what, work in cases.items():
            times[what].append(work())
    base = float(np.median(times["import tensorflow"]))
    rows = [_row(what, durations, base) for what, durations in times.items()]
    return rows + [_row(f"{what}, first", [seconds], base) for what, seconds in first.items()]


def _row(what: str, durations: Sequence[float], base: float) -> StartupTiming:
    middle = float(np.median(durations))
    return StartupTiming(what, middle, min(durations), max(durations), middle / base)


def _import() -> float:
    started_at = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, capture_output=True)
    return time.monotonic() - started_at


def _start(runtime: str) -> float:
    line = {"name": "line", "source": "simulate:"}
    network = f'[inference]\ndevice = "cpu"\nruntime = "{runtime}"\n'
    started_at = time.monotonic()
    with run_daemon(_NO_REDIS, [line], network, quiet=True):
        return time.monotonic() - started_at
