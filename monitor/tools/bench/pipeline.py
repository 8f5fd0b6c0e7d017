"""Measures the daemon as a whole against the minimum cost of its work, the frame period, and time.

Each row is a function of a `BenchConfig`; every ratio compares cases measured in turn in one run. The daemon
runs in a separate process, as `defect-monitor run` does, with a real Redis server. Its figures come from its
metrics, so quantiles are interpolated within a bucket of the histogram.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import redis

from monitor.events.event import Event
from monitor.tools.bench.baselines import run_loop
from monitor.tools.bench.daemon_process import (
    DaemonProcess,
    MetricsSnapshot,
    memory,
    process_tree,
    processor_seconds,
    run_daemon,
    settings,
)
from monitor.tools.bench.recordings import every_nth, uncompressed, video

PERIOD = 1 / 30


_LENGTH = 300  # frames of a video; a whole number of defects at one in 100 and one in 10


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


def recorded(setup: BenchConfig) -> list[PipelineResult]:
    """Row 4: frames a second of a recorded video without defects, to those of the bare network.

    Once of H.264, whose decoding takes its part of the same cores, and once uncompressed.
    """
    config = _config(setup)
    clean = video(setup.folder / "clean.mp4", _LENGTH, every_nth(0))
    recordings = {"H.264": clean, "uncompressed": uncompressed(clean)}
    bare: list[float] = []
    whole: dict[str, list[float]] = {kind: [] for kind in recordings}
    details: dict[str, dict[str, float]] = {}
    for _ in range(setup.rounds):  # in turn, so that a busy moment of the machine affects all
        bare.append(run_loop("bare", config, clean, setup.seconds)["fps"])
        for kind, recording in recordings.items():
            fps, details[kind] = _unlimited_rate(setup, recording)
            whole[kind].append(fps)
    rows = []
    for kind, figures in whole.items():
        ratio = median(figures) / median(bare)
        shown = {**details[kind], "bare network, frames/s": median(bare), "daemon, frames/s": median(figures)}
        what = f"recorded video, {kind}, to the bare network"
        rows.append(PipelineResult(4, what, f"{ratio:.2f}", "≥ 0.92", ratio >= 0.92, shown))
    return rows


def naive_loop(setup: BenchConfig) -> list[PipelineResult]:
    """Row 5: the same with defects, against the loop that a user would write."""
    rows = []
    for one, aim in ((100, 5.0), (10, 8.0)):
        recording = video(setup.folder / f"one-in-{one}.mp4", _LENGTH, every_nth(one))
        theirs, ours = [], []
        details: dict[str, float] = {}
        for _ in range(setup.rounds):
            theirs.append(run_loop("script", _config(setup), recording, setup.seconds)["fps"])
            fps, details = _unlimited_rate(setup, recording)
            ours.append(fps)
        ratio = median(ours) / median(theirs)
        details |= {"loop, frames/s": median(theirs), "daemon, frames/s": median(ours)}
        what = f"recorded video, {100 / one:g} % defects, to a loop of model.predict"
        rows.append(PipelineResult(5, what, f"{ratio:.1f}", f"≥ {aim:g}", ratio >= aim, details))
    return rows


def live(setup: BenchConfig) -> list[PipelineResult]:
    """Row 6: one camera at 30 frames a second, 512x512, 1 % defects."""
    recording = video(setup.folder / "one-in-100.mp4", _LENGTH, every_nth(100))
    with run_daemon(setup.redis, [_camera(recording, fps=30)], setup.more) as daemon:
        daemon.wait_until_passed(90)
        seen = daemon.measure(setup.seconds)
    dropped = seen.total("frames_total", outcome="dropped")
    rows = []
    for share, aim in ((0.5, 0.6), (0.99, 1.0), (0.999, 2.0)):
        periods = seen.quantile("verdict_seconds", share) / PERIOD
        name = f"live 30/s, 1 % defects, {seen.at:.0f} s: verdict p{100 * share:g} in frame periods"
        rows.append(PipelineResult(6, name, f"{periods:.2f}", f"< {aim:g}", periods < aim, _stages(seen)))
    rows.append(PipelineResult(6, "the same: frames dropped", f"{dropped:.0f}", "0", dropped == 0))
    return rows


def burst(setup: BenchConfig) -> list[PipelineResult]:
    """Row 7: ten seconds of defects only, after twenty with 1 % and before twenty without."""
    fps, begin, end = 30, 600, 900
    every_hundredth = every_nth(100)
    line = setup.folder / "burst.mp4"
    video(
        line, end + 600, lambda number: begin <= number < end or (number < begin and every_hundredth(number))
    )
    with redis.Redis.from_url(setup.redis, protocol=2) as client:
        client.flushall()
    with run_daemon(setup.redis, [_camera(line, fps=fps, loop=False, frames="newest")], setup.more) as daemon:
        daemon.wait_until_passed(90)  # the first frames run with cold caches
        start = daemon.snapshot()
        daemon.wait_until_passed(begin - 5)
        before = daemon.snapshot()
        daemon.wait_until_passed(end)
        during = daemon.snapshot()
        time.sleep(10)
        after = daemon.snapshot()
    events = _events(setup.redis)
    calm, busy = before.since(start), during.since(before)
    within = [(event, out) for event, out in events if begin <= event.frame_number < end]
    last = max((event.captured_at.timestamp() for event, _ in within), default=0.0)
    late = max((out for _, out in within), default=float("inf")) - last
    flagged = after.total("frames_total", outcome="defect")
    ratio = busy.quantile("verdict_seconds", 0.99) / calm.quantile("verdict_seconds", 0.99)
    outcomes = after.since(before).by("explanations_total", "outcome")
    weighed = [event.explanation.max_n for event, _ in within]
    details = {
        **{f"explained: {name}": count for name, count in outcomes.items()},
        "maps weighed in the mean": sum(weighed) / max(1, len(weighed)),
        "localised": sum(event.explanation.localised for event, _ in within),
        "verdict p99 before, ms": 1000 * calm.quantile("verdict_seconds", 0.99),
        "verdict p99 in the burst, ms": 1000 * busy.quantile("verdict_seconds", 0.99),
        "frames dropped": after.total("frames_total", outcome="dropped"),
    }
    lost = int(flagged) - len(events)
    return [
        PipelineResult(
            7, "burst of 10 s: flagged frames without an event", f"{lost} of {flagged:.0f}", "0", lost == 0
        ),
        PipelineResult(
            7, "verdict p99 in the burst to that before", f"{ratio:.2f}", "≤ 2", ratio <= 2, details
        ),
        PipelineResult(7, "last event after the burst's end, s", f"{late:.2f}", "≤ 5", late <= 5),
    ]


def cameras(setup: BenchConfig) -> list[PipelineResult]:
    """Row 8: the cost of more cameras at the same total rate."""
    recording = video(setup.folder / "one-in-100.mp4", _LENGTH, every_nth(100))
    counts, rates, sizes, load = (1, 2, 4, 8, 16, 32), {}, {}, {}
    for count in counts:
        each = [_camera(recording, name=f"camera-{index}", fps=setup.rate / count) for index in range(count)]
        with run_daemon(setup.redis, each, setup.more) as daemon:
            daemon.wait_until_passed(3 * setup.rate)
            used = _used(daemon)
            rates[count] = (seen := daemon.measure(setup.seconds)).judged / seen.at
            load[count] = (_used(daemon) - used) / seen.at
            sizes[count] = sum(memory(pid) for pid in process_tree(daemon.process.pid))
    details = {f"{count} cameras, frames/s": rates[count] for count in counts}
    details |= {f"{count} cameras, processors used": load[count] for count in counts}
    details |= {f"{count} cameras, MB": sizes[count] for count in counts}
    rows = []
    for count, aim in ((8, 0.9), (32, 0.8)):
        ratio = rates[count] / rates[1]
        what = f"{count} cameras at {setup.rate:g} frames/s together: judged, to one camera"
        rows.append(PipelineResult(8, what, f"{ratio:.2f}", f"≥ {aim}", ratio >= aim, details))
    further = (sizes[32] - sizes[1]) / 31
    rows.append(
        PipelineResult(8, "memory a further camera, MB (Pss)", f"{further:.0f}", "< 80", further < 80)
    )
    return rows


def idle(setup: BenchConfig) -> list[PipelineResult]:
    """Row 11: one camera at one frame a second."""
    recording = video(setup.folder / "clean.mp4", _LENGTH, every_nth(0))
    with run_daemon(setup.redis, [_camera(recording, fps=1)], setup.more) as daemon:
        daemon.wait_until_passed(3)
        used, began = _by_process(daemon), time.monotonic()
        time.sleep(setup.seconds)
        span = time.monotonic() - began
        details = {name: (seconds - used[name]) / span for name, seconds in _by_process(daemon).items()}
    share = sum(details.values())
    return [
        PipelineResult(
            11, "one camera at 1 frame/s: share of a core", f"{share:.3f}", "< 0.1", share < 0.1, details
        )
    ]


def _unlimited_rate(setup: BenchConfig, recording: Path) -> tuple[float, dict[str, float]]:
    """Frames per second of the daemon on a video without a rate limit, and where its time went."""
    with run_daemon(setup.redis, [_camera(recording, frames="every")], setup.more) as daemon:
        daemon.wait_until_passed(200)
        used = _by_process(daemon)
        seen = daemon.measure(setup.seconds)
        spent = {name: seconds - used[name] for name, seconds in _by_process(daemon).items()}
    details = _stages(seen)
    details |= {f"{name}, processor ms/frame": 1000 * spent[name] / seen.judged for name in spent}
    details |= {f"explained: {name}": n for name, n in seen.by("explanations_total", "outcome").items()}
    return seen.judged / seen.at, details


def _stages(seen: MetricsSnapshot) -> dict[str, float]:
    """Mean milliseconds of each stage, over the frames that passed it."""
    counts, sums = (seen.by(f"stage_seconds_{part}", "stage") for part in ("count", "sum"))
    return {f"{stage}, mean ms": 1000 * sums.get(stage, 0.0) / count for stage, count in counts.items()}


def _by_process(daemon: DaemonProcess) -> dict[str, float]:
    """Processor seconds used so far, by kind of process."""
    used: dict[str, float] = {}
    for pid, name in process_tree(daemon.process.pid).items():
        used[name] = used.get(name, 0.0) + processor_seconds(pid)
    return used


def _used(daemon: DaemonProcess) -> float:
    return sum(_by_process(daemon).values())


def _camera(
    recording: Path,
    name: str = "line",
    frames: str = "newest",
    *,
    loop: bool = True,
    fps: float | None = None,
) -> dict[str, object]:
    rate = {} if fps is None else {"fps": fps}
    return {"name": name, "source": recording, "loop": loop, "frames": frames, **rate}


def _config(setup: BenchConfig) -> Path:
    """A file with the daemon's settings, for the comparison."""
    path = setup.folder / "compared.toml"
    path.write_text(settings(setup.redis, 0, [{"name": "line", "source": "simulate:"}], setup.more))
    return path


def _events(url: str) -> list[tuple[Event, float]]:
    """Every event in the stream with the Unix time of its arrival."""
    with redis.Redis.from_url(url, protocol=2) as client:
        entries = client.xrange("defects:events")
    return [(Event.from_json(fields[b"event"]), int(key.split(b"-")[0]) / 1000) for key, fields in entries]


ROWS: Mapping[str, Callable[[BenchConfig], Sequence[PipelineResult]]] = {
    "recorded": recorded,
    "script": naive_loop,
    "live": live,
    "burst": burst,
    "cameras": cameras,
    "idle": idle,
}
