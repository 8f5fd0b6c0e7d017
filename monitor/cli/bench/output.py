"""The output of every benchmark: JSON, or the machine and a table; on request also as files."""

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


def _create(folder: Path | None) -> Path | None:
    """Create the folder before anything is measured; raises typer.BadParameter."""
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"{folder} cannot be created: {error.strerror}") from error
    return folder


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


Model = Annotated[str, typer.Option(help="Name of a shipped model, or folder of a bundle.")]


Out = Annotated[
    Path | None,
    typer.Option(callback=_create, help="Write the table to this folder as well, as JSON and as Markdown."),
]


def print_rows(
    name: str, rows: "Sequence[DataclassInstance]", table: Iterable[str], *, as_json: bool, out: Path | None
) -> None:
    """Print the rows as JSON, or the machine and the lines of `table`.

    With a folder `out`, both are also written to files called `name` in it.
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
