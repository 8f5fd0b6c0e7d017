"""A daemon in a separate process, observed from outside: metrics over HTTP, processes in /proc."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from monitor.errors import MonitorError
from monitor.telemetry.histograms import histogram_quantile

_READY_TIMEOUT = 300.0  # seconds until a daemon is ready, on a machine that is busy with other things


_TICKS = os.sysconf("SC_CLK_TCK")


Labels = frozenset[tuple[str, str]]


class BenchError(MonitorError):
    """A benchmark failed."""


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """The daemon's metrics at the time `at` (monotonic seconds), names without their common prefix."""

    at: float
    values: Mapping[tuple[str, Labels], float]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all series of `name` with these labels."""
        wanted = labels.items()
        return sum(value for (found, has), value in self.values.items() if found == name and wanted <= has)

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the sums of the series of `name` by one label, those above zero."""
        sums: Counter[str] = Counter()
        for (found, has), value in self.values.items():
            if found == name and value:
                sums[dict(has)[label]] += value  # type: ignore[assignment]  # a Counter of floats
        return dict(sums)

    @property
    def judged(self) -> float:
        """Frames with a verdict."""
        return self.total("verdict_seconds_count")

    @property
    def frames_done(self) -> float:
        """Frames that are done: classified, unusable or dropped."""
        lost = (self.total("frames_total", outcome=outcome) for outcome in ("dropped", "unusable"))
        return self.judged + sum(lost)

    def since(self, earlier: "MetricsSnapshot") -> "MetricsSnapshot":
        """Return what was counted after `earlier`; `at` are the seconds between the two."""
        return MetricsSnapshot(
            self.at - earlier.at,
            {series: value - earlier.values.get(series, 0.0) for series, value in self.values.items()},
        )

    def quantile(self, histogram: str, share: float, **labels: str) -> float:
        """Return the quantile in seconds over all series with these labels; NaN where nothing was counted."""
        counts: Counter[float] = Counter()
        for (found, has), value in self.values.items():
            if found == f"{histogram}_bucket" and labels.items() <= has:
                counts[float(dict(has)["le"])] += value  # type: ignore[assignment]  # a Counter of floats
        return histogram_quantile(counts, share)


@dataclass(slots=True)
class DaemonProcess:
    """A daemon that runs as `process` and serves its metrics at `port`."""

    process: subprocess.Popen[bytes]
    port: int
    redis: str

    def snapshot(self) -> MetricsSnapshot:
        """Return its current metrics. Raises BenchError where it does not answer."""
        text = self._get("/metrics")
        values = {
            (sample.name.removeprefix("defect_monitor_"), frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        return MetricsSnapshot(time.monotonic(), values)

    def measure(self, seconds: float) -> MetricsSnapshot:
        """Return what it counts within `seconds`."""
        before = self.snapshot()
        time.sleep(seconds)
        return self.snapshot().since(before)

    def wait_until_ready(self) -> None:
        """Wait until its model is warm and each camera was tried. Raises BenchError."""
        deadline = time.monotonic() + _READY_TIMEOUT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"the daemon ended with exit code {self.process.returncode}")
            with suppress(BenchError):
                self._get("/readyz")
                return
            time.sleep(0.02)  # short, since starts are timed with it
        raise BenchError(f"the daemon was not ready within {_READY_TIMEOUT:.0f} s")

    def wait_until_passed(self, frames: float) -> None:
        """Wait until so many frames are done. Raises BenchError when none is added for a minute."""
        last, since = -1.0, time.monotonic()
        while (passed := self.snapshot().frames_done) < frames:
            if passed > last:
                last, since = passed, time.monotonic()
            elif time.monotonic() - since > 60:
                raise BenchError(f"the daemon processed {passed:.0f} frames and then none for a minute")
            time.sleep(0.1)

    def _get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                text: str = answer.read().decode()
        except (urllib.error.URLError, OSError) as error:
            raise BenchError(f"the daemon does not answer {path}: {error}") from error
        return text


@contextmanager
def run_daemon(
    redis: str, cameras: Sequence[Mapping[str, object]], more: str = "", *, quiet: bool = False
) -> Iterator[DaemonProcess]:
    """Run a daemon on `cameras`, tables of settings, and stop it; `more` are further tables as TOML.

    The daemon is ready when it is yielded. `quiet` discards its standard error.
    """
    with tempfile.TemporaryDirectory(prefix="defect-monitor-") as folder:
        port = _free_port()
        config = Path(folder) / "bench.toml"
        config.write_text(settings(redis, port, cameras, more), encoding="utf-8")
        process = subprocess.Popen(  # noqa: S603 (this program)
            [sys.executable, "-m", "monitor", "run", "-c", str(config)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stderr=subprocess.DEVNULL if quiet else None,
        )
        daemon = DaemonProcess(process, port, redis)
        try:
            daemon.wait_until_ready()
            yield daemon
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def settings(redis: str, port: int, cameras: Sequence[Mapping[str, object]], more: str = "") -> str:
    """Write settings of a daemon as TOML; `more` may begin with further keys such as `redis.replicas = 1`."""
    tables = [f'redis.url = "{redis}"\nmetrics.port = {port}\nlog.level = "error"\n{more}']
    for camera in cameras:
        lines = (f"{key} = {_toml(value)}" for key, value in camera.items())
        tables.append("\n".join(["[[camera]]", *lines]))
    return "\n".join(tables) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else '"' + str(value).replace('"', '\\"') + '"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def process_tree(pid: int) -> dict[int, str]:
    """Return process `pid` and all its descendants, each with the name of its role."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == one]
    return {one: _name(one) for one in found}


def _name(pid: int) -> str:
    command = ""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    for part, name in (
        ("monitor.capture", "capture"),
        ("monitor run", "daemon"),
        ("valkey-server", "valkey"),
    ):
        if part in command:
            return name
    return command.split(" ")[0].rpartition("/")[2] or "gone"


def memory(pid: int, kind: str = "Pss") -> float:
    """Return megabytes (10^6 bytes) of a process: `Pss` divides shared memory, `Rss` does not; 0: ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def processor_seconds(pid: int) -> float:
    """Return the processor seconds that a process has used so far; 0 when it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0
