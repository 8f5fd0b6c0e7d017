"""`defect-monitor demo`: the whole daemon with nothing to configure."""

import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.errors import MonitorError

if TYPE_CHECKING:
    from rich.console import Console, Group

    from monitor.tools.demo.demo import Demo
    from monitor.tools.demo.scorecard import Scorecard, ScoredEvent


_ROWS = 12


_PROGRESS_INTERVAL = 5.0  # seconds between lines of progress where there is no terminal


def demo(
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Stop after N seconds (default: at Ctrl-C).")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for metrics; 0 takes a free one.")] = 9464,
    page_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for the operator's page; a free one if it is taken.")
    ] = 8460,
    out: Annotated[Path, typer.Option(help="Folder for some annotated frames.")] = Path("out/demo"),
) -> None:
    """Inspect two simulated cameras and show the events that come through Redis."""
    from rich.console import Console

    from monitor.cli.process import limit_library_threads

    limit_library_threads()
    from monitor.cli.process import stop_on_signals
    from monitor.inference.device import import_tensorflow
    from monitor.telemetry.logs import setup_logging

    import_tensorflow()
    from monitor.tools.demo.demo import demo as start_demo

    setup_logging("warning", "text")
    stop_requested = threading.Event()
    stop_on_signals(stop_requested.set)
    console = Console()

    def show_page(address: str) -> None:
        console.print(address, highlight=False, soft_wrap=True)
        console.print(
            "starting: an embedded Redis-compatible server, two simulated cameras, the shipped model"
        )

    with start_demo(port, out, page_port, show_page) as running:
        _watch(running, seconds, stop_requested, console)
        scorecard = running.finish()
    _summarise(scorecard, out, console)
    if not scorecard.seen:
        raise MonitorError("no event came through Redis: run longer, or read the log above")


def _watch(
    running: "Demo", seconds: float | None, stop_requested: threading.Event, console: "Console"
) -> None:
    """Show events until the time is over, Ctrl-C, or the daemon ends: live on a terminal, else by line."""
    from rich.live import Live

    metrics = f"metrics: http://127.0.0.1:{running.daemon.port}/metrics"
    started_at = time.monotonic()

    def elapsed() -> float:
        return time.monotonic() - started_at

    def over() -> bool:
        return (
            stop_requested.is_set() or not running.running or (seconds is not None and elapsed() >= seconds)
        )

    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            while not over():
                live.update(_screen(running.scorecard, metrics, elapsed(), seconds))
                stop_requested.wait(0.25)
        return
    console.print(metrics)
    shown, reported_at = 0, 0.0
    while not over():
        for seen in running.scorecard.seen[shown:]:
            console.print(_line(seen), soft_wrap=True)
            shown += 1
        if elapsed() - reported_at >= _PROGRESS_INTERVAL:
            reported_at = elapsed()
            of = "" if seconds is None else f" of {seconds:.0f}"
            console.print(f"{reported_at:.0f}{of} s, {shown} events through Redis")
        stop_requested.wait(0.25)


def _screen(scorecard: "Scorecard", metrics: str, elapsed: float, seconds: float | None) -> "Group":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table("time", "camera", "frame", "score", "box (x, y, w, h)", "heat", "ms", "on the defect")
    for seen in scorecard.seen[-_ROWS:]:
        table.add_row(*_cells(seen))
    hits = sum(seen.hit for seen in scorecard.seen)
    below = f"{len(scorecard.seen)} events through Redis, {hits} on a defect · {elapsed:.0f} s · {metrics}"
    if seconds is None:
        return Group(table, f"{below} · Ctrl-C ends it")
    return Group(table, below, ProgressBar(total=seconds, completed=min(elapsed, seconds), width=80))


def _cells(seen: "ScoredEvent") -> tuple[str, ...]:
    event = seen.event
    box = next((f"{it.x}, {it.y}, {it.width}, {it.height}" for it in event.regions), "none")
    heat = "localised" if event.explanation.localised else event.explanation.reason or ""
    latency = 1000 * sum(event.latency.values())
    return (
        event.captured_at.strftime("%H:%M:%S.%f")[:-3],
        event.camera,
        str(event.frame_number),
        f"{event.score:.3f}",
        box,
        heat,
        f"{latency:.0f}",
        "yes" if seen.hit else "NO",
    )


def _line(seen: "ScoredEvent") -> str:
    time_, camera, frame, score, box, heat, latency, hit = _cells(seen)
    return (
        f"{time_} {camera} frame {frame} score {score} box {box} ({heat}) {latency} ms, on the defect: {hit}"
    )


def _summarise(scorecard: "Scorecard", out: Path, console: "Console") -> None:
    def ms(seconds: float) -> str:
        return "–" if math.isnan(seconds) else f"{1000 * seconds:.0f} ms"

    rows = {
        "frames": f"{scorecard.frames}, not inspected {scorecard.not_inspected}",
        "flagged": f"{len(scorecard.seen)} events came through Redis",
        "defects simulated": (
            f"{scorecard.defects}, on frames not inspected {scorecard.defects_not_inspected}"
        ),
        "hits": f"{scorecard.hits} flagged with a box on the defect",
        "without a box": f"{scorecard.without_box} flagged, and the event says why",
        "misses": f"{scorecard.missed} not flagged",
        "boxes elsewhere": f"{scorecard.elsewhere}",
        "capture to verdict": f"p50 {ms(scorecard.verdict[0])}, p99 {ms(scorecard.verdict[1])}",
        "capture to Redis": f"p50 {ms(scorecard.event[0])}, p99 {ms(scorecard.event[1])}",
        "annotated frames": f"{len(scorecard.pictures)} in {out.resolve()}",
    }
    for name, value in rows.items():
        console.print(f"{name:>18}  {value}", highlight=False, soft_wrap=True)
