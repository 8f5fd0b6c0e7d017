"""`defect-monitor challenge`: whether the running daemon finds known rejects."""

import getpass
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.redis_server import (
    Config,
    Password,
    Prefix,
    RedisServer,
    TlsCa,
    TlsCertificate,
    TlsKey,
    Url,
    Username,
)
from monitor.errors import UsageError

if TYPE_CHECKING:
    from monitor.settings import Settings


def challenge(
    *,
    images: Annotated[
        Path | None,
        typer.Option(
            "--set",
            metavar="DIR",
            help="Folder of known rejects: folders of kinds of defects, an exported dataset, or DAGM.",
        ),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(metavar="LOG", help="Check the signatures of a log instead.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Key that signs the log (default: `challenge.key_file` of the settings)."
        ),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(help="Inspect the images as frames of this camera (default: the only one)."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the logs.")] = Path("challenges"),
    author: Annotated[
        str | None, typer.Option(help="Who runs the test (default: the name of the user of this machine).")
    ] = None,
    config: Config = None,
    url: Url = None,
    prefix: Prefix = None,
    username: Username = None,
    password: Password = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
) -> None:
    """Show known rejects to the running daemon, and sign a log of what it found.

    The images are no production: no event, no coverage and no verdict is published, and they are counted
    apart. The exit code is 0 only if every reject was found and every image inspected. With an ACL it needs
    the page's user.
    """
    if (images is None) == (verify is None):
        raise UsageError("give either --set DIR, to run a challenge, or --verify LOG, to check one")
    settings = _settings(config)
    signing_key = _key(key, settings)
    if verify is not None:
        _verify(verify, signing_key)
        return
    assert images is not None

    from monitor.events.event import safe_name
    from monitor.learning.datasets.reader import read_rejects
    from monitor.tools.challenge.challenge import run_challenge
    from monitor.tools.challenge.signed_log import SignedLog

    name = _camera(camera, settings)
    samples = read_rejects(images)
    server = RedisServer(config, url, prefix, username, password, tls_ca, tls_certificate, tls_key)
    path = out / f"challenge-{safe_name(name)}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl"
    with closing(server.challenge()) as client, closing(SignedLog(path, signing_key)) as log:
        summary = run_challenge(
            images,
            samples,
            lambda file, content: client.show(name, file, content),
            log,
            camera=name,
            author=author or getpass.getuser(),
        )
    _show(asdict(summary))
    print(f"log: {path}")
    if not summary.has_passed:
        raise typer.Exit(1)


def _settings(config: Path | None) -> "Settings | None":
    from monitor.settings import load_settings

    return None if config is None else load_settings(config)


def _key(key: Path | None, settings: "Settings | None") -> bytes:
    from monitor.tools.challenge.signed_log import read_key

    configured = settings and settings.challenge.key_file
    if key is None and configured is None:
        raise UsageError("no key signs the log: give --key FILE, or -c FILE with challenge.key_file")
    return read_key(key or Path(str(configured)))


def _camera(camera: str | None, settings: "Settings | None") -> str:
    names = [] if settings is None else [it.name for it in settings.camera]
    if camera is None and len(names) == 1:
        return names[0]
    if camera is None:
        known = f"; there are {', '.join(names)}" if names else ""
        raise UsageError(f"--camera NAME: name the camera whose frames the images are{known}")
    if names and camera not in names:
        raise UsageError(f"--camera {camera}: no such camera in the settings; there are {', '.join(names)}")
    return camera


def _verify(path: Path, key: bytes) -> None:
    from monitor.tools.challenge.signed_log import read_log

    *_, summary = records = read_log(path, key)
    first = records[0]
    print(
        f"{path} is whole and unchanged: camera {first['camera']}, {first['started_at']}, {first['author']}"
    )
    _show(summary)


def _show(summary: Mapping[str, Any]) -> None:
    print(
        f"{summary['found']} of {summary['rejects']} known rejects found, "
        f"{len(summary['false_alarms'])} of {summary['good']} good images flagged"
    )
    for name, word in (
        ("missed", "missed"),
        ("not_inspected", "not inspected"),
        ("false_alarms", "false alarm"),
    ):
        for file in summary[name]:
            print(f"{word}: {file}")
