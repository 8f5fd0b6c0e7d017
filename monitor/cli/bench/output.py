"""How every benchmark tells what it measured: JSON, or the machine and a table; in files too where asked."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def _made(folder: Path | None) -> Path | None:
    """The folder, there before anything is measured. Raises typer.BadParameter."""
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"{folder} cannot be made: {error.strerror}") from error
    return folder


Out = Annotated[
    Path | None,
    typer.Option(callback=_made, help="Also write the table into this folder, as JSON and as Markdown."),
]


def print_rows(
    name: str, rows: "Sequence[DataclassInstance]", table: Iterable[str], *, as_json: bool, out: Path | None
) -> None:
    """Print the rows as JSON, or what they were measured on and the lines of `table`.

    With a folder `out`, both also go into files called `name` in it.
    """
    document = json.dumps({"machine": _machine(), "rows": [asdict(row) for row in rows]}, indent=2)
    text = "\n".join([", ".join(_machine().values()), "", *table])
    typer.echo(document if as_json else text)
    if out is not None:
        (out / f"{name}.json").write_text(document + "\n", encoding="utf-8")
        (out / f"{name}.md").write_text(text + "\n", encoding="utf-8")


def _machine() -> dict[str, str]:
    from importlib.metadata import version

    from monitor.inference.backends.base import is_installed
    from monitor.tools.support.machine import processor

    extras = ("openvino",) if is_installed("openvino") else ()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processors": f"{os.cpu_count()} processors {processor()['model'] or platform.machine()}",
        **{
            name: f"{name} {version(name)}"
            for name in ("tensorflow", "keras", "numpy", "opencv-python", *extras)
        },
    }
