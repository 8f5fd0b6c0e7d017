"""`defect-monitor doctor`: check everything that a run needs."""

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
        Path | None,
        typer.Option(
            "--config", "-c", help="Check what this configuration, a TOML file, needs. Default: all defaults."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of a table.")
    ] = False,
    save_pictures: Annotated[
        Path | None, typer.Option(help="Save an image of each camera to this folder, as NAME.png.")
    ] = None,
) -> None:
    """Check everything that a run needs and print how to fix what is not ok. Exit code 1 if a check fails.

    Checks device and GPU, model, every camera, Redis, outbox, clocks, port and memory. It can run beside the
    daemon; it removes what it writes to Redis and to disk.
    """
    from monitor.cli.process import exit_now
    from monitor.inference.device import import_tensorflow
    from monitor.settings import load_settings

    settings = load_settings(config) if config else None
    try:
        import_tensorflow()
        from monitor.tools.doctor.checklist import default_settings, run_checks
    except ImportError as error:
        raise MonitorError(f"the installation is incomplete, install it again: {error}") from error
    results = list(_with_progress(run_checks(settings or default_settings(), pictures=save_pictures)))
    failed = [result.name for result in results if result.result == "not ok"]
    if as_json:
        print(_document(results))
    else:
        _print(results)
    if failed:
        print(f"defect-monitor: not ok: {', '.join(failed)}", file=sys.stderr)
    exit_now(1 if failed else 0)  # a hung camera holds a thread that must not delay the exit


def _with_progress(results: "Iterator[CheckResult]") -> "Iterator[CheckResult]":
    """Yield the results while a line on a terminal shows the progress."""
    from rich.console import Console

    with Console(stderr=True).status("checking the device") as status:
        for result in results:
            status.update(f"checked: {result.name}")
            yield result


def _as_json(result: "CheckResult") -> dict[str, object]:
    return {
        "name": result.name,
        "result": result.result,
        "what": result.message,
        "mend": result.remedy,
        "figures": dict(result.figures),
    }


def _document(results: "list[CheckResult]") -> str:
    from monitor import __version__

    return json.dumps(
        {
            "version": __version__,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "ok": all(result.result != "not ok" for result in results),
            "checks": [_as_json(result) for result in results],
        },
        indent=2,
        ensure_ascii=False,
    )


def _print(results: "list[CheckResult]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, overflow="fold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for result in results:
        message = Text(result.message)
        if result.remedy:
            message.append(f"\n→ {result.remedy}", style="bold" if result.result == "not ok" else "dim")
        table.add_row(Text(result.name), Text(result.result, style=_STYLES[result.result]), message)
    Console(highlight=False).print(table)
