"""How every benchmark prints what it measured: one JSON document, or the machine and a table."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def print_rows(rows: "Sequence[DataclassInstance]", table: Iterable[str], *, as_json: bool) -> None:
    """Print the rows as JSON, or what they were measured on and the lines of `table`."""
    if as_json:
        print(json.dumps({"machine": _machine(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(", ".join(_machine().values()) + "\n")
    for line in table:
        print(line)


def _machine() -> dict[str, str]:
    from importlib.metadata import version

    from monitor.classify.runtime import installed

    extras = (name for name in ("openvino", "onnxruntime") if installed(name))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processors": f"{os.cpu_count()} processors ({platform.machine()})",
        **{
            name: f"{name} {version(name)}"
            for name in ("tensorflow", "keras", "numpy", "opencv-python", *extras)
        },
    }
