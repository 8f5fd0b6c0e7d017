"""The command line: parse, load, call one function, exit code. Heavy imports stay inside the commands."""

import sys

import typer

from monitor.errors import MonitorError

app = typer.Typer(
    name="defect-monitor",
    help="Watch a production line and say which frame shows a surface defect, and where.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a mistake of the user's ends in one line, a bug in a traceback."""
    try:
        app()
    except MonitorError as error:
        print(f"defect-monitor: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


__all__ = ["app", "main"]
