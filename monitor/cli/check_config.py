"""`defect-monitor check-config`: read a configuration as `run` does."""

import json
from pathlib import Path
from typing import Annotated

import typer

from monitor.errors import UsageError


def check_config(
    file: Annotated[Path | None, typer.Argument(help="Configuration to read, a TOML file.")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the configuration.")
    ] = False,
) -> None:
    """Print every mistake in FILE with its place, or the settings in force, without secrets."""
    from monitor.settings import Settings, load_settings, redacted

    if schema:
        print(json.dumps(Settings.model_json_schema(), indent=2, ensure_ascii=False))
        return
    if file is None:
        raise UsageError("check-config needs a FILE, or --schema")
    print(json.dumps(redacted(load_settings(file)), indent=2, ensure_ascii=False))
