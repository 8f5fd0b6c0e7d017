"""`defect-monitor support-bundle`: one archive for remote help."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def support_bundle(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration of the daemon that needs help.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write this archive, FILE.tar.gz; it must not exist yet.")
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="Read the daemon's log from this file. Default: the journal of its service."),
    ] = None,
) -> None:
    """Collect versions, settings without secrets, log, metrics and the doctor's report into one archive.

    Leaves out passwords, users in URLs and the environment. Lists what it could not collect, here and in the
    archive's manifest.json.
    """
    from rich.console import Console

    from monitor import __version__
    from monitor.tools.support.archive import check_writable, write_archive
    from monitor.tools.support.collect import collect_files

    created_at = datetime.now(UTC)
    path = out or Path(f"defect-monitor-support-{created_at:%Y%m%dT%H%M%SZ}.tar.gz")
    check_writable(path)
    with Console(stderr=True).status("collecting; the doctor takes a while"):
        parts = list(collect_files(config, log))
    size = write_archive(path, parts, __version__, created_at)
    collected = [part.name for part in parts if part.text is not None]
    print(f"{path}: {size / 1000:.0f} kB, with {', '.join(collected)}")
    for part in parts:
        if part.text is None:
            print(f"not collected: {part.what}: {part.missing}")
