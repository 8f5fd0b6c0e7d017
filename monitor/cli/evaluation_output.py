"""What `evaluate` and `compare` show, and where they write it."""

import os
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from monitor.learning.datasets import Sample
    from monitor.learning.evaluate.tables import Table


def command_line() -> str:
    """Return the command that was given, for a report."""
    return shlex.join(["defect-monitor", *sys.argv[1:]])


@contextmanager
def progress(console: "Console", total: int) -> "Iterator[Callable[[str], None]]":
    """Show a bar on a terminal; the function that is yielded advances it and names what is in progress."""
    from rich.progress import Progress

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda name: bar.update(task, advance=1, description=name)


def is_divided(samples: "Sequence[Sample]") -> bool:
    """Whether every surface has a Test part."""
    surfaces = {sample.surface for sample in samples}
    return surfaces == {sample.surface for sample in samples if sample.split == "Test"}


def show_tables(found: "Sequence[Table]") -> None:
    """Print tables to a terminal, or to a pipe."""
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    # A pipe has no width: a table there is as wide as it needs.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    for one in found:
        drawn = Drawn(title=one.title, title_justify="left", title_style="bold")
        for index, name in enumerate(one.header):
            drawn.add_column(name, justify="left" if index == 0 else "right")
        for row in one.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(drawn)
        if one.note:
            console.print(one.note, style="dim", highlight=False)
        console.print()


def refuse_unwritable(report: Path) -> None:
    """Refuse a report that cannot be written before minutes of work, not after."""
    if report.is_dir():
        raise _unwritable(report, "it is a folder")
    if not report.parent.is_dir():
        raise _unwritable(report, f"there is no folder {report.parent}")
    if not os.access(report if report.exists() else report.parent, os.W_OK):
        raise _unwritable(report, "permission denied")


def write_report(report: Path, page: str) -> None:
    """Write `page` to the file `report`; raises `UsageError` where that fails."""
    try:
        report.write_text(page, "utf-8", errors="backslashreplace")  # names of files that are not UTF-8
    except OSError as error:
        raise _unwritable(report, error.strerror or str(error)) from error


def _unwritable(report: Path, reason: str) -> Exception:
    from monitor.errors import UsageError

    return UsageError(f"the report cannot be written to {report}: {reason}")
