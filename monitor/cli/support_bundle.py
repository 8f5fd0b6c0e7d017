"""`defect-monitor support-bundle`: one archive for those who help from afar."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def support_bundle(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The settings of the daemon that needs help.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The archive to write, FILE.tar.gz; never one that is there already.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="A file with the daemon's log. Default: the journal of its service.")
    ] = None,
) -> None:
    """Collect versions, settings without secrets, log, metrics and the doctor's word into one archive.

    Passwords, users in URLs and the environment are left out. What cannot be had is said, here and in the
    archive's manifest.json.
    """
    from rich.console import Console

    from monitor import __version__
    from monitor.tools.support.archive import check_writable, write_archive
    from monitor.tools.support.collect import collect_files

    at = datetime.now(UTC)
    path = out or Path(f"defect-monitor-support-{at:%Y%m%dT%H%M%SZ}.tar.gz")
    check_writable(path)
    with Console(stderr=True).status("collecting; the doctor takes a while"):
        parts = list(collect_files(config, log))
    size = write_archive(path, parts, __version__, at)
    there = [part.name for part in parts if part.text is not None]
    print(f"{path}: {size / 1000:.0f} kB, with {', '.join(there)}")
    for part in parts:
        if part.text is None:
            print(f"not collected: {part.what}: {part.missing}")
