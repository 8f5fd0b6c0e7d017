"""Export what is read at each scrape: the kernel's figures of capture processes, and whether we stand by."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_PROC = Path("/proc")


_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


def export_standby(registry: CollectorRegistry, is_standby: Callable[[], bool]) -> None:
    """Measure whether the daemon stands by for another one."""
    about = "1 while another daemon inspects the cameras and this one stands by, otherwise 0."
    Gauge("standby", about, namespace="defect_monitor", registry=registry).set_function(is_standby)


def export_last_reload(registry: CollectorRegistry, has_succeeded: Callable[[], bool]) -> None:
    """Measure whether the settings in force are those of the last reload."""
    about = "0 if the last reload of the settings failed and changed nothing, otherwise 1."
    gauge = Gauge("last_reload_succeeded", about, namespace="defect_monitor", registry=registry)
    gauge.set_function(has_succeeded)


class WorkerProcessCollector(Collector):
    """Measure each camera's capture process; `pids` returns the running processes by camera.

    A process that ends meanwhile is left out. The processor time starts at zero with each new process.
    """

    def __init__(self, registry: CollectorRegistry, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without series."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        memory, time = families = self._families()
        for camera, pid in self._pids().items():
            try:
                # Skip the program's name: it may hold any character and ends at the last bracket.
                fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            memory.add_metric([camera], int(fields[21]) * _PAGE)
            time.add_metric([camera], (int(fields[11]) + int(fields[12])) / _TICKS)
        return families

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, CounterMetricFamily]:
        prefix = "defect_monitor_camera_process"
        return (
            GaugeMetricFamily(
                f"{prefix}_resident_memory_bytes",
                "Resident memory of the camera's capture process.",
                labels=["camera"],
            ),
            CounterMetricFamily(
                f"{prefix}_cpu_seconds_total",
                "Processor time that the camera's capture process has taken.",
                labels=["camera"],
            ),
        )
