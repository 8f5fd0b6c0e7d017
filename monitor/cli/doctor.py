"""`defect-monitor doctor`: look at each thing a run needs."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.errors import MonitorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from monitor.tools.doctor.result import CheckResult


_STYLES = {"ok": "green", "not ok": "bold red", "skipped": "yellow"}


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The settings, a TOML file. Default: all defaults.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    save_pictures: Annotated[
        Path | None, typer.Option(help="Save a picture of each camera here, as NAME.png.")
    ] = None,
) -> None:
    """Look at each thing a run needs and say: ok, not ok, how to mend. Exit code 1 if anything is not ok.

    Device and GPU, model, every camera, Redis, outbox, clocks, port, memory. It may be run beside the daemon;
    what it writes to Redis and disk it takes away again.
    """
    from monitor.cli.process import exit_now
    from monitor.inference.device import import_tensorflow
    from monitor.settings import load_settings

    settings = load_settings(config) if config else None
    try:
        import_tensorflow()
        from monitor.tools.doctor.checklist import default_settings, run_checks
    except ImportError as error:
        raise MonitorError(f"the installation is not whole, install it again: {error}") from error
    answers = list(_with_progress(run_checks(settings or default_settings(), pictures=save_pictures)))
    wrong = [answer.name for answer in answers if answer.result == "not ok"]
    if as_json:
        print(_document(answers))
    else:
        _print(answers)
    if wrong:
        print(f"defect-monitor: not ok: {', '.join(wrong)}", file=sys.stderr)
    exit_now(1 if wrong else 0)  # a camera that hangs holds a thread, which nobody waits for


def _with_progress(answers: "Iterator[CheckResult]") -> "Iterator[CheckResult]":
    """The same, while a line on a terminal says how far it is."""
    from rich.console import Console

    with Console(stderr=True).status("looking at the device") as status:
        for answer in answers:
            status.update(f"looked at: {answer.name}")
            yield answer


def _as_json(result: "CheckResult") -> dict[str, object]:
    return {
        "name": result.name,
        "result": result.result,
        "what": result.message,
        "mend": result.remedy,
        "figures": dict(result.figures),
    }


def _document(answers: "list[CheckResult]") -> str:
    from monitor import __version__

    return json.dumps(
        {
            "version": __version__,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "ok": all(answer.result != "not ok" for answer in answers),
            "checks": [_as_json(answer) for answer in answers],
        },
        indent=2,
        ensure_ascii=False,
    )


def _print(answers: "list[CheckResult]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, overflow="fold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for answer in answers:
        told = Text(answer.message)
        if answer.remedy:
            told.append(f"\n→ {answer.remedy}", style="bold" if answer.result == "not ok" else "dim")
        table.add_row(Text(answer.name), Text(answer.result, style=_STYLES[answer.result]), told)
    Console(highlight=False).print(table)
