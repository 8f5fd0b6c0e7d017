"""`defect-monitor events`: a subscriber for the terminal and for scripts."""

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.event_output import print_heading, print_line, print_row, print_table
from monitor.errors import MonitorError

_URL = "redis://127.0.0.1:6379/0"


_PREFIX = "defects"


if TYPE_CHECKING:
    from monitor.events.event import Event
    from monitor.redis_streams.subscriber import Subscriber


app = typer.Typer(help="Follow events, show one, export them with their images.", no_args_is_help=True)


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Settings file: take Redis, prefix and credentials from its [redis]."
    ),
]


Url = Annotated[
    str | None,
    typer.Option(
        envvar="DEFECT_MONITOR_REDIS_URL",
        show_envvar=True,
        help=f"Redis or Valkey server (default: that of the settings file, else {_URL}).",
    ),
]


Prefix = Annotated[str | None, typer.Option(help=f"Prefix of all keys (default: {_PREFIX}).")]


Username = Annotated[str | None, typer.Option(help="ACL user, if not in the URL.")]


Password = Annotated[
    str | None,
    typer.Option(
        envvar="DEFECT_MONITOR_REDIS_PASSWORD", show_envvar=True, help="Password; best by the variable."
    ),
]


TlsCa = Annotated[str | None, typer.Option(help="PEM file of the authority of the server's certificate.")]


TlsCertificate = Annotated[str | None, typer.Option(help="PEM file of the client certificate.")]


TlsKey = Annotated[str | None, typer.Option(help="PEM file of its key.")]


Group = Annotated[
    str | None,
    typer.Option(help="Share the events with others that give this group; each is acknowledged when done."),
]


Consumer = Annotated[
    str | None,
    typer.Option(help="Name within the group, the same after a restart (default: host name and command)."),
]


Count = Annotated[int | None, typer.Option(min=1, help="Stop after N events.")]


@dataclass(frozen=True, slots=True)
class _Server:
    """Where to read: options of the command line come before those of the settings file."""

    config: Path | None
    url: str | None
    prefix: str | None
    username: str | None
    password: str | None
    tls_ca: str | None
    tls_certificate: str | None
    tls_key: str | None

    def subscriber(self) -> "Subscriber":
        """Connect when the first command is sent. Raises SettingsError, UsageError."""
        from monitor.redis_streams.address import NO_CREDENTIALS
        from monitor.redis_streams.consumer_group import MissedEntries, UnreadableEntry
        from monitor.redis_streams.subscriber import Subscriber

        def report_unreadable(unreadable: UnreadableEntry) -> None:
            print(f"entry {unreadable.entry} skipped: {unreadable.reason}", file=sys.stderr)

        def report_missed(missed: MissedEntries) -> None:
            span = f"from {missed.since:%Y-%m-%d %H:%M:%S} to {missed.until:%Y-%m-%d %H:%M:%S} UTC"
            print(f"events {span} were trimmed away before they were read", file=sys.stderr)

        url, prefix, access = _URL, _PREFIX, NO_CREDENTIALS
        if self.config is not None:
            from monitor.bootstrap.delivery import redis_credentials
            from monitor.settings import load_settings

            settings = load_settings(self.config)
            url, prefix = settings.redis.url.get_secret_value(), settings.redis.prefix
            access = redis_credentials(settings)
        given = {"username": self.username, "password": self.password, "ca": self.tls_ca}
        given |= {"certificate": self.tls_certificate, "key": self.tls_key}
        return Subscriber(
            self.url or url,
            self.prefix or prefix,
            access=replace(access, **{name: value for name, value in given.items() if value}),
            on_unreadable=report_unreadable,
            on_missed=report_missed,
        )


@app.command()
def tail(
    *,
    config: Config = None,
    url: Url = None,
    prefix: Prefix = None,
    username: Username = None,
    password: Password = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    group: Group = None,
    consumer: Consumer = None,
    count: Count = None,
    stored: Annotated[bool, typer.Option("--stored", help="Begin with all stored events.")] = False,
) -> None:
    """Follow events as they come: a table on a terminal, lines of JSON elsewhere. Ctrl-C ends it."""
    server = _Server(config, url, prefix, username, password, tls_ca, tls_certificate, tls_key)
    show = print_row if sys.stdout.isatty() else print_line
    start = "0" if stored else "$"
    with contextlib.suppress(KeyboardInterrupt), _open_pipe(), server.subscriber() as subscriber:
        if show is print_row:
            print_heading()
        member = None if group is None else (group, consumer or f"{socket.gethostname()}-tail")
        for event, acknowledge in islice(_events(subscriber, member, start, wait=True), count):
            show(event)
            acknowledge()


@app.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.")],
    *,
    config: Config = None,
    url: Url = None,
    prefix: Prefix = None,
    username: Username = None,
    password: Password = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    picture: Annotated[Path | None, typer.Option(help="Save the annotated image here (JPEG).")] = None,
) -> None:
    """Show one event in full: a table on a terminal, JSON elsewhere."""
    server = _Server(config, url, prefix, username, password, tls_ca, tls_certificate, tls_key)
    with server.subscriber() as subscriber:
        event = subscriber.find(event_id)
        jpeg = subscriber.picture(event) if picture else None
    if sys.stdout.isatty():
        print_table(event)
    else:
        print_line(event)
    if picture:
        if jpeg is None:
            raise MonitorError(f"the image of {event_id} is not stored, or no longer")
        with _writing(picture):
            picture.write_bytes(jpeg)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder to write: `events.jsonl` and `frames/<id>.jpg`.")],
    *,
    config: Config = None,
    url: Url = None,
    prefix: Prefix = None,
    username: Username = None,
    password: Password = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    group: Group = None,
    consumer: Consumer = None,
    count: Count = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with those that come.")] = False,
) -> None:
    """Add events to `events.jsonl`, a line of JSON each, with their annotated images.

    Nothing that is in the folder is changed; events that are there already are skipped. Without a group: all
    stored events. With one: those that the group has not had; each is acknowledged once it is on disk.
    """
    server = _Server(config, url, prefix, username, password, tls_ca, tls_certificate, tls_key)
    member = None if group is None else (group, consumer or f"{socket.gethostname()}-export")
    saved = pictures = 0
    with contextlib.suppress(KeyboardInterrupt), _writing(out), server.subscriber() as subscriber:
        frames = out / "frames"
        frames.mkdir(parents=True, exist_ok=True)
        exported = _exported(out / "events.jsonl")
        with (out / "events.jsonl").open("a", encoding="utf-8") as lines:
            for event, acknowledge in _events(subscriber, member, "0", wait=follow):
                if event.id not in exported:
                    jpeg = subscriber.picture(event)
                    if jpeg is not None:
                        _write_synced(frames / f"{event.id}.jpg", jpeg)
                        pictures += 1
                    lines.write(event.to_json() + "\n")
                    lines.flush()
                    os.fsync(lines.fileno())
                    exported.add(event.id)
                    saved += 1
                acknowledge()
                if saved == count:
                    break
    print(f"{saved} events and {pictures} pictures in {out}", file=sys.stderr)


def _exported(path: Path) -> set[str]:
    """Return the ids in an earlier export; end a last line that was cut off."""
    ids: set[str] = set()
    if not path.exists():
        return ids
    complete = True
    with path.open("r", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            complete = line.endswith("\n")
            with contextlib.suppress(ValueError):
                document = json.loads(line)
                if isinstance(document, dict):
                    ids.add(str(document.get("id")))
    if not complete:
        with path.open("a", encoding="utf-8") as lines:
            lines.write("\n")
    return ids


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _events(
    subscriber: "Subscriber", member: tuple[str, str] | None, start: str, *, wait: bool
) -> Iterator[tuple["Event", Callable[[], None]]]:
    """Yield events with the function that acknowledges them; `member` is group and consumer, if any."""
    if member is not None:
        yield from subscriber.work(*member, start=start, wait=wait)
        return
    for event in subscriber.follow(start) if wait else subscriber.stored():
        yield event, lambda: None


@contextlib.contextmanager
def _open_pipe() -> Iterator[None]:
    """End quietly when the reader of our output, such as `head`, has closed it."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MonitorError(f"cannot write {error.filename or path}: {error.strerror}") from error
