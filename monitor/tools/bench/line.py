"""A line under measurement: what the rows of the pipeline's benchmark have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monitor.tools.bench.daemon_process import (
    DaemonProcess,
    MetricsSnapshot,
    process_tree,
    processor_seconds,
    run_daemon,
)

PERIOD = 1 / 30


LENGTH = 300  # frames of a video; a whole number of defects at one in 100 and one in 10


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """Input of the rows: a Redis URL, a folder for videos, and the duration of each measurement."""

    redis: str
    folder: Path
    seconds: float = 30.0
    rounds: int = 3
    frames: int = 1_000_000
    rate: float = 30.0
    more: str = ""  # further settings, as TOML


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """One figure: `number` is the row of the table of aims; `reached` is None without an aim."""

    number: int
    what: str
    figure: str
    aim: str
    reached: bool | None
    details: Mapping[str, float] = field(default_factory=dict)


def unlimited_rate(setup: BenchConfig, recording: Path) -> tuple[float, dict[str, float]]:
    """Frames per second of the daemon on a video without a rate limit, and where its time went."""
    with run_daemon(setup.redis, [camera_table(recording, frames="every")], setup.more) as daemon:
        daemon.wait_until_passed(200)
        used = seconds_by_process(daemon)
        seen = daemon.measure(setup.seconds)
        spent = {name: seconds - used[name] for name, seconds in seconds_by_process(daemon).items()}
    details = stage_means(seen)
    details |= {f"{name}, processor ms/frame": 1000 * spent[name] / seen.judged for name in spent}
    details |= {f"explained: {name}": n for name, n in seen.by("explanations_total", "outcome").items()}
    return seen.judged / seen.at, details


def stage_means(seen: MetricsSnapshot) -> dict[str, float]:
    """Mean milliseconds of each stage, over the frames that passed it, for the details of a row."""
    return {f"{stage}, mean ms": 1000 * seconds for stage, seconds in stage_seconds(seen).items()}


def stage_seconds(seen: MetricsSnapshot) -> dict[str, float]:
    """Mean seconds of each stage, over the frames that passed it."""
    counts, sums = (seen.by(f"stage_seconds_{part}", "stage") for part in ("count", "sum"))
    return {stage: sums.get(stage, 0.0) / count for stage, count in counts.items()}


def seconds_by_process(daemon: DaemonProcess) -> dict[str, float]:
    """Processor seconds used so far, by kind of process."""
    used: dict[str, float] = {}
    for pid, name in process_tree(daemon.process.pid).items():
        used[name] = used.get(name, 0.0) + processor_seconds(pid)
    return used


def camera_table(
    recording: Path,
    name: str = "line",
    frames: str = "newest",
    *,
    loop: bool = True,
    fps: float | None = None,
) -> dict[str, object]:
    """Return the `[[camera]]` table of a recording."""
    rate = {} if fps is None else {"fps": fps}
    return {"name": name, "source": recording, "loop": loop, "frames": frames, **rate}
