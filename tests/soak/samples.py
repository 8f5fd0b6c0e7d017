"""Memory, open files and threads of a daemon's processes over hours, as a table and as slopes."""

import contextlib
import csv
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from monitor.tools.bench.memory_growth import WARM, linear_drift
from tests.soak.accounts import readers_of
from tests.support.daemon_process import DaemonUnderTest

EVERY = 15.0
MOODS = 1.0
"""Megabytes by which a process may grow over a whole run beside its noise: an allocator's moods."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at one moment; megabytes of 10^6 bytes. `rings` are the cameras' shared memories in it."""

    seconds: float
    name: str
    pid: int
    rss: float
    anonymous: float
    files: int
    threads: int
    rings: int

    @staticmethod
    def of(seconds: float, name: str, pid: int) -> "Sample":
        """As /proc says. Raises OSError where the process is gone."""
        process = Path("/proc", str(pid))
        sizes = {
            line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6
            for line in (process / "smaps_rollup").read_text().splitlines()[1:]
        }
        return Sample(
            seconds=round(seconds, 1),
            name=name,
            pid=pid,
            rss=round(sizes["Rss"], 3),
            anonymous=round(sizes["Anonymous"], 3),
            files=sum(1 for _ in (process / "fd").iterdir()),
            threads=sum(1 for _ in (process / "task").iterdir()),
            rings=(process / "maps").read_text().count("memfd:frames"),
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """How a process grew after its warm-up; `noise` as `bench` reckons it for its own growth row."""

    name: str
    hours: float
    first: float
    last: float
    slope: float
    noise: float
    allowed: float
    processes: int
    files: tuple[int, int]
    threads: tuple[int, int]

    @property
    def flat(self) -> bool:
        """Whether the growth cannot be told from noise. A process that was seen too rarely is not."""
        return abs(self.slope) <= self.allowed


class ResourceSampler:
    """Looks at the daemon and its capture processes again and again, in a thread."""

    def __init__(self, daemon: DaemonUnderTest, table: Path) -> None:
        self.seen: list[Sample] = []
        self._daemon, self._table = daemon, table
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def daemon_now(self) -> Sample:
        """The daemon's own process just now."""
        return Sample.of(time.monotonic() - self._began, "daemon", self._daemon.process.pid)

    def growth(self, hours: float) -> Iterator[Growth]:
        """The daemon, and of each camera the process that lived longest, if for a third of the time."""
        by_name: defaultdict[str, defaultdict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))
        for sample in self.seen:
            by_name[sample.name][sample.pid].append(sample)
        for processes in by_name.values():
            longest = max(processes.values(), key=len)
            lived = (longest[-1].seconds - longest[0].seconds) / 3600
            if lived >= hours / 3:
                yield _grown(longest, lived, len(processes))

    def typical(self) -> dict[str, float]:
        """The median of the anonymous megabytes of each camera's processes, when last seen."""
        last: dict[tuple[str, int], float] = {}
        for sample in self.seen:
            last[sample.name, sample.pid] = sample.anonymous
        names = {name for name, _ in last}
        return {name: median(size for (of, _), size in last.items() if of == name) for name in names}

    def __enter__(self) -> "ResourceSampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        self._table.parent.mkdir(exist_ok=True)
        with self._table.open("w", newline="") as file:
            rows = csv.DictWriter(file, Sample.__slots__)
            rows.writeheader()
            while not self._over.is_set():
                now = time.monotonic() - self._began
                for name, pid in {"daemon": self._daemon.process.pid, **readers_of(self._daemon)}.items():
                    with contextlib.suppress(OSError, KeyError):  # it has just ended
                        self.seen.append(Sample.of(now, name, pid))
                        rows.writerow(asdict(self.seen[-1]))
                file.flush()
                self._over.wait(EVERY)


def _grown(samples: list[Sample], hours: float, processes: int) -> Growth:
    began = samples[0].seconds
    life = [((one.seconds - began) / 3600, one.anonymous) for one in samples]
    grown, noise, told = linear_drift(life, hours)  # type: ignore[arg-type]  # any unit, here hours
    span = hours * (1 - WARM)
    return Growth(
        name=samples[0].name,
        hours=hours,
        first=told.get("first, MB", float("nan")),
        last=told.get("last, MB", float("nan")),
        slope=grown / span,
        noise=noise / span,
        allowed=max(noise, MOODS) / span,
        processes=processes,
        files=(samples[0].files, samples[-1].files),
        threads=(samples[0].threads, samples[-1].threads),
    )
