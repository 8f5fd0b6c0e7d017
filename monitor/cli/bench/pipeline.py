"""`defect-monitor bench pipeline`: the daemon as a whole, as ratios within one run."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.bench.output import AsJson, Out, print_rows

if TYPE_CHECKING:
    from monitor.tools.bench.line import PipelineResult


class PipelineRow(StrEnum):
    """The rows that can be measured one at a time."""

    recorded = "recorded"
    naive_loop = "script"
    live = "live"
    watched = "watched"
    burst = "burst"
    overload = "overload"
    cameras = "cameras"
    memory = "memory"
    idle = "idle"
    stages = "stages"


def pipeline(
    *,
    as_json: AsJson = False,
    row: Annotated[
        list[PipelineRow] | None, typer.Option(help="Measure only this row; repeat the option for more.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds per measurement. Default: 20; live 600, idle 60."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of turns of daemon and comparison.")] = 3,
    frames: Annotated[int, typer.Option(min=1000, help="Number of frames of the memory row.")] = 1_000_000,
    rate: Annotated[
        float,
        typer.Option(
            min=1,
            help="Frames per second of the cameras and watched rows, all cameras together.",
        ),
    ] = 32.0,
    more: Annotated[
        Path | None, typer.Option(help="Add the settings of this TOML file to the daemon's.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            help="Record where time goes instead: a flame graph (.svg) or a file for speedscope.app (.json)."
        ),
    ] = None,
    out: Out = None,
) -> None:
    """Measure the daemon on simulated lines, against the bare network, a plain loop and the frame period."""
    from monitor.cli.process import limit_library_threads

    limit_library_threads()  # as in the measured daemon
    from monitor.inference.device import import_tensorflow
    from monitor.tools.bench.line import BenchConfig
    from monitor.tools.bench.pipeline import ROWS
    from monitor.tools.demo.embedded_redis import embedded_server

    durations = {PipelineRow.live: 600.0, PipelineRow.idle: 60.0}
    rows: list[PipelineResult] = []
    with embedded_server() as url, tempfile.TemporaryDirectory(prefix="defect-monitor-bench-") as folder:
        text = "" if more is None else more.read_text(encoding="utf-8")
        setup = BenchConfig(url, Path(folder), rounds=rounds, frames=frames, rate=rate, more=text)
        if profile is not None:
            from monitor.tools.bench.flamegraph import profile as record

            record(replace(setup, seconds=seconds or 20.0), profile)
            typer.echo(f"written: {profile}")
            return
        for selected in row or list(PipelineRow):
            setup = replace(setup, seconds=seconds or durations.get(selected, 20.0))
            if selected is PipelineRow.memory:
                import_tensorflow()  # this process creates the small network
                from monitor.tools.bench.memory_growth import growth

                rows += growth(setup)
            elif selected is PipelineRow.watched:
                from monitor.tools.bench.viewers import watched

                rows += watched(setup)
            elif selected is PipelineRow.stages:
                import_tensorflow()
                from monitor.tools.bench.stages import stages

                rows += stages(setup)
            else:
                rows += ROWS[selected](setup)
            if not as_json:
                typer.echo(f"{selected}: measured", err=True)
    print_rows("pipeline", rows, _table(rows), as_json=as_json, out=out)


def _table(rows: "list[PipelineResult]") -> Iterator[str]:
    """Yield the figures, then the details behind them, once each."""
    yield "| row | what | measured | aim | reached |"
    yield "|--:|---|--:|--:|---|"
    for one in rows:
        word = {True: "yes", False: "no", None: ""}[one.reached]
        yield f"| {one.number or ''} | {one.what} | {one.figure} | {one.aim} | {word} |"
    printed: list[object] = []
    for one in rows:
        if one.details and one.details not in printed:
            printed.append(one.details)
            yield f"\nrow {one.number}, {one.what}:"
            for name, value in one.details.items():
                yield f"- {name}: {value:.4g}"
