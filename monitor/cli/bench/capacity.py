"""`defect-monitor bench capacity`: how many cameras of a configuration this machine carries."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.bench.output import AsJson, Out, print_rows

if TYPE_CHECKING:
    from monitor.tools.bench.capacity import Capacity


def capacity(
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings file (TOML).")],
    *,
    event_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of the frames that are flagged.")
    ] = 0.05,
    fps: Annotated[
        float | None,
        typer.Option(min=0.01, help="Frames per second of a camera. Default: as configured, else 15."),
    ] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure how many cameras like those of CONFIG this machine carries, and what limits it.

    Takes less than a minute for a few cameras, each of which is read for up to five seconds. Nothing is
    written to Redis.
    """
    from monitor.cli.process import limit_library_threads

    limit_library_threads()  # as in the daemon
    from monitor.settings import load_settings
    from monitor.tools.bench.capacity import measure_capacity

    found = measure_capacity(load_settings(config), event_rate=event_rate, rate=fps)
    print_rows("capacity", [found], _table(found), as_json=as_json, out=out)


def _table(found: "Capacity") -> Iterator[str]:
    rates = f"{found.rate:g} frames/s with {100 * found.event_rate:g} % defects"
    yield f"carries {found.cameras} cameras at {rates}; {found.configured} are configured"
    yield f"limited by: {found.limit}"
    yield ""
    yield "| stage | ms | per | share of the machine, one camera | cameras it would carry alone |"
    yield "|---|--:|---|--:|--:|"
    for stage in found.stages:
        yield (
            f"| {stage.stage} | {stage.milliseconds:.2f} | {stage.per} | {100 * stage.share:.1f} % "
            f"| {stage.cameras} |"
        )
