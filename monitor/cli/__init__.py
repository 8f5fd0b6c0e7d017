"""The command line: parse, load, call one function, exit code. Heavy imports stay inside the commands."""

import io
import os
import sys

import typer

from monitor import __version__
from monitor.cli import (
    archive,
    bench,
    challenge,
    check_config,
    compare,
    dataset,
    demo,
    doctor,
    evaluate,
    events,
    explain,
    label,
    models,
    page,
    pool,
    recipe,
    rescore,
    run,
    simulate,
    support_bundle,
    train,
)
from monitor.errors import MonitorError

app = typer.Typer(
    name="defect-monitor",
    help="Watch a production line and report which frame shows a surface defect, and where.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # otherwise a docstring keeps its line breaks
)
_RUN, _LOOK, _TEACH, _MEASURE = "Run", "Look", "Teach", "Measure"

app.command("demo", rich_help_panel=_RUN)(demo.demo)
app.command("run", rich_help_panel=_RUN)(run.run)
app.add_typer(recipe.app, name="recipe", rich_help_panel=_RUN)
app.command("archive", rich_help_panel=_RUN)(archive.archive)
app.add_typer(pool.app, name="pool", rich_help_panel=_RUN)
app.command("check-config", rich_help_panel=_RUN)(check_config.check_config)
app.add_typer(page.app, name="page", rich_help_panel=_LOOK)
app.command("doctor", rich_help_panel=_LOOK)(doctor.doctor)
app.add_typer(events.app, name="events", rich_help_panel=_LOOK)
app.command("explain", rich_help_panel=_LOOK)(explain.explain)
app.command("support-bundle", rich_help_panel=_LOOK)(support_bundle.support_bundle)
app.command("label", rich_help_panel=_TEACH)(label.label)
app.add_typer(dataset.app, name="dataset", rich_help_panel=_TEACH)
app.command("train", rich_help_panel=_TEACH)(train.train)
app.add_typer(models.app, name="models", rich_help_panel=_TEACH)
app.command("simulate", rich_help_panel=_TEACH)(simulate.simulate)
app.command("evaluate", rich_help_panel=_MEASURE)(evaluate.evaluate)
app.command("compare", rich_help_panel=_MEASURE)(compare.compare)
app.command("challenge", rich_help_panel=_MEASURE)(challenge.challenge)
app.command("rescore", rich_help_panel=_MEASURE)(rescore.rescore)
app.add_typer(bench.app, name="bench", rich_help_panel=_MEASURE)


def _version(requested: bool) -> None:
    if requested:
        print(f"defect-monitor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Watch a production line and report which frame shows a surface defect, and where."""


def main() -> None:
    """Run the command line; a user's mistake ends in one line, a bug in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name that is not UTF-8 is shown escaped
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # the program reports a corrupted image itself, once
    try:
        app()
    except MonitorError as error:
        print(f"defect-monitor: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


__all__ = ["app", "main"]
