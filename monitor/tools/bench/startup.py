"""How long the daemon takes from its start to /readyz, beside what importing TensorFlow alone takes."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from monitor.inference.backends.base import BackendName, is_installed
from monitor.tools.bench.daemon_process import run_daemon

_NO_REDIS = "redis://127.0.0.1:1/0"  # to start, the daemon needs none; that it misses one is no news


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
    """Take turns; the first start of each kind, which may have to make something ready, is told by itself."""
    works: dict[str, Callable[[], float]] = {"import tensorflow": _import}
    for name in ("auto", *(name for name in _NAMES if is_installed(name))):
        works[f"start to /readyz, runtime = {name}"] = partial(_start, name)
    first = {what: work() for what, work in works.items()}
    times: Mapping[str, list[float]] = {what: [] for what in works}
    for _ in range(rounds):
        for what, work in works.items():
            times[what].append(work())
    base = float(np.median(times["import tensorflow"]))
    rows = [_row(what, taken, base) for what, taken in times.items()]
    return rows + [_row(f"{what}, first", [seconds], base) for what, seconds in first.items()]


def _row(what: str, taken: Sequence[float], base: float) -> StartupTiming:
    middle = float(np.median(taken))
    return StartupTiming(what, middle, min(taken), max(taken), middle / base)


def _import() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, capture_output=True)
    return time.monotonic() - began


def _start(runtime: str) -> float:
    line = {"name": "line", "source": "simulate:"}
    network = f'[inference]\ndevice = "cpu"\nruntime = "{runtime}"\n'
    began = time.monotonic()
    with run_daemon(_NO_REDIS, [line], network, quiet=True):
        return time.monotonic() - began
