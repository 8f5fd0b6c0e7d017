"""The command line: parse, load, call one function, exit code. Heavy imports stay inside the commands."""

import io
import os
import sys

import typer

from monitor import __version__
from monitor.cli import (
    bench,
    check_config,
    demo,
    doctor,
    evaluate,
    events,
    explain,
    run,
    simulate,
    support_bundle,
    train,
)
from monitor.errors import MonitorError

app = typer.Typer(
    name="defect-monitor",
    help="Watch a production line and say which frame shows a surface defect, and where.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # otherwise the lines of a docstring stay apart where they were broken
)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("check-config")(check_config.check_config)
app.command("doctor")(doctor.doctor)
app.command("support-bundle")(support_bundle.support_bundle)
app.add_typer(events.app, name="events")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("explain")(explain.explain)
app.add_typer(bench.app, name="bench")
app.command("simulate")(simulate.simulate)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"defect-monitor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    """Watch a production line and say which frame shows a surface defect, and where."""


def main() -> None:
    """Run the command line; a mistake of the user's ends in one line, a bug in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name that is not UTF-8 is shown escaped
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # of a broken picture we say more, and once
    try:
        app()
    except MonitorError as error:
        print(f"defect-monitor: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


__all__ = ["app", "main"]
