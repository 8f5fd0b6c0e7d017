"""How long the daemon takes from its start to /readyz, beside what importing TensorFlow alone takes."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from monitor.classify.runtime import RuntimeName, installed
from monitor.errors import MonitorError

_PATIENCE = 300.0
"""Seconds until a start counts as failed."""

_NAMES: tuple[RuntimeName, ...] = ("tensorflow", "openvino", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Row:
    """Seconds, the median of several, and their ratio to importing TensorFlow alone."""

    what: str
    seconds: float
    lowest: float
    highest: float
    to_import: float


def run(rounds: int = 5) -> list[Row]:
    """Take turns; the first start of each kind, which may have to make something ready, is told by itself."""
    with TemporaryDirectory(prefix="defect-monitor-bench-") as folder:
        works: dict[str, Callable[[], float]] = {"import tensorflow": _import}
        for name in ("auto", *(name for name in _NAMES if installed(name))):
            works[f"start to /readyz, runtime = {name}"] = _starter(Path(folder), name)
        first = {what: work() for what, work in works.items()}
        times: Mapping[str, list[float]] = {what: [] for what in works}
        for _ in range(rounds):
            for what, work in works.items():
                times[what].append(work())
    base = float(np.median(times["import tensorflow"]))
    rows = [_row(what, taken, base) for what, taken in times.items()]
    return rows + [_row(f"{what}, first", [seconds], base) for what, seconds in first.items()]


def _row(what: str, taken: Sequence[float], base: float) -> Row:
    middle = float(np.median(taken))
    return Row(what, middle, min(taken), max(taken), middle / base)


def _import() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, capture_output=True)
    return time.monotonic() - began


def _starter(folder: Path, runtime: str) -> Callable[[], float]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = folder / f"{runtime}.toml"
    settings.write_text(
        f'[metrics]\nport = {port}\n[redis]\nurl = "redis://127.0.0.1:1/0"\n'
        f'[inference]\ndevice = "cpu"\nruntime = "{runtime}"\n'
        '[[camera]]\nname = "line"\nsource = "simulate:"\n'
    )

    def start() -> float:
        began = time.monotonic()
        daemon = subprocess.Popen(  # noqa: S603 (our own arguments)
            [sys.executable, "-m", "monitor", "run", "-c", str(settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not _ready(port):
                if daemon.poll() is not None or time.monotonic() - began > _PATIENCE:
                    raise MonitorError(f"the daemon did not start with runtime = {runtime}")
                time.sleep(0.02)
            return time.monotonic() - began
        finally:
            daemon.terminate()
            daemon.wait()

    return start


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False
