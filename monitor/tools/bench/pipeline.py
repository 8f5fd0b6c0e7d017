"""Measures the daemon as a whole against the minimum cost of its work, the frame period, and time.

Each row is a function of a `BenchConfig`; every ratio compares cases measured in turn in one run. The daemon
runs in a separate process, as `defect-monitor run` does, with a real Redis server. Its figures come from its
metrics, so quantiles are interpolated within a bucket of the histogram.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from monitor.tools.bench.baselines import run_loop
from monitor.tools.bench.daemon_process import DaemonProcess, memory, process_tree, run_daemon, settings
from monitor.tools.bench.line import (
    LENGTH,
    BenchConfig,
    PipelineResult,
    camera_table,
    seconds_by_process,
    unlimited_rate,
)
from monitor.tools.bench.live import burst, live, overload
from monitor.tools.bench.recordings import every_nth, uncompressed, video


def recorded(setup: BenchConfig) -> list[PipelineResult]:
    """Row 4: frames a second of a recorded video without defects, to those of the bare network.

    Once of H.264, whose decoding takes its part of the same cores, and once uncompressed.
    """
    config = _config(setup)
    clean = video(setup.folder / "clean.mp4", LENGTH, every_nth(0))
    recordings = {"H.264": clean, "uncompressed": uncompressed(clean)}
    bare: list[float] = []
    whole: dict[str, list[float]] = {kind: [] for kind in recordings}
    details: dict[str, dict[str, float]] = {}
    for _ in range(setup.rounds):  # in turn, so that a busy moment of the machine affects all
        bare.append(run_loop("bare", config, clean, setup.seconds)["fps"])
        for kind, recording in recordings.items():
            fps, details[kind] = unlimited_rate(setup, recording)
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
        recording = video(setup.folder / f"one-in-{one}.mp4", LENGTH, every_nth(one))
        theirs, ours = [], []
        details: dict[str, float] = {}
        for _ in range(setup.rounds):
            theirs.append(run_loop("script", _config(setup), recording, setup.seconds)["fps"])
            fps, details = unlimited_rate(setup, recording)
            ours.append(fps)
        ratio = median(ours) / median(theirs)
        details |= {"loop, frames/s": median(theirs), "daemon, frames/s": median(ours)}
        what = f"recorded video, {100 / one:g} % defects, to a loop of model.predict"
        rows.append(PipelineResult(5, what, f"{ratio:.1f}", f"≥ {aim:g}", ratio >= aim, details))
    return rows


def cameras(setup: BenchConfig) -> list[PipelineResult]:
    """Row 8: the cost of more cameras at the same total rate."""
    recording = video(setup.folder / "one-in-100.mp4", LENGTH, every_nth(100))
    counts, rates, sizes, load = (1, 2, 4, 8, 16, 32), {}, {}, {}
    for count in counts:
        each = [
            camera_table(recording, name=f"camera-{index}", fps=setup.rate / count) for index in range(count)
        ]
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
    recording = video(setup.folder / "clean.mp4", LENGTH, every_nth(0))
    with run_daemon(setup.redis, [camera_table(recording, fps=1)], setup.more) as daemon:
        daemon.wait_until_passed(3)
        used, began = seconds_by_process(daemon), time.monotonic()
        time.sleep(setup.seconds)
        span = time.monotonic() - began
        details = {
            name: (seconds - used[name]) / span for name, seconds in seconds_by_process(daemon).items()
        }
    share = sum(details.values())
    return [
        PipelineResult(
            11, "one camera at 1 frame/s: share of a core", f"{share:.3f}", "< 0.1", share < 0.1, details
        )
    ]


def _used(daemon: DaemonProcess) -> float:
    return sum(seconds_by_process(daemon).values())


def _config(setup: BenchConfig) -> Path:
    """A file with the daemon's settings, for the comparison."""
    path = setup.folder / "compared.toml"
    path.write_text(settings(setup.redis, 0, [{"name": "line", "source": "simulate:"}], setup.more))
    return path


ROWS: Mapping[str, Callable[[BenchConfig], Sequence[PipelineResult]]] = {
    "recorded": recorded,
    "script": naive_loop,
    "live": live,
    "burst": burst,
    "overload": overload,
    "cameras": cameras,
    "idle": idle,
}
