"""`defect-monitor events`: a subscriber for the terminal and for scripts."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.event_output import print_heading, print_line, print_row, print_table
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
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.events.event import Event
    from monitor.redis_streams.consumer_group import MissedEntries, UnreadableEntry
    from monitor.redis_streams.subscriber import Subscriber


app = typer.Typer(help="Follow events, show one, export them with their images.", no_args_is_help=True)


Group = Annotated[
    str | None,
    typer.Option(help="Share the events with others that give this group; each is acknowledged when done."),
]


Consumer = Annotated[
    str | None,
    typer.Option(help="Name within the group, the same after a restart (default: host name and command)."),
]


Count = Annotated[int | None, typer.Option(min=1, help="Stop after N events.")]


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
    server = RedisServer(config, url, prefix, username, password, tls_ca, tls_certificate, tls_key)
    show = print_row if sys.stdout.isatty() else print_line
    start = "0" if stored else "$"
    with contextlib.suppress(KeyboardInterrupt), _open_pipe(), _connect(server) as subscriber:
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
    server = RedisServer(config, url, prefix, username, password, tls_ca, tls_certificate, tls_key)
    with _connect(server) as subscriber:
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
    from monitor.tools.archiver.event_folder import EventFolder

    server = RedisServer(config, url, prefix, username, password, tls_ca, tls_certificate, tls_key)
    member = None if group is None else (group, consumer or f"{socket.gethostname()}-export")
    saved = pictures = 0
    with contextlib.suppress(KeyboardInterrupt), _writing(out), _connect(server) as subscriber:
        folder = EventFolder(out)
        for event, acknowledge in _events(subscriber, member, "0", wait=follow):
            if event.id not in folder:
                jpeg = subscriber.picture(event)
                folder.add(event, jpeg)
                saved += 1
                pictures += jpeg is not None
            acknowledge()
            if saved == count:
                break
    print(f"{saved} events and {pictures} pictures in {out}", file=sys.stderr)


def _connect(server: RedisServer) -> "Subscriber":
    """Return a subscriber that reports on standard error what it skips and what it missed."""

    def report_unreadable(unreadable: "UnreadableEntry") -> None:
        print(f"entry {unreadable.entry} skipped: {unreadable.reason}", file=sys.stderr)

    def report_missed(missed: "MissedEntries") -> None:
        span = f"from {missed.since:%Y-%m-%d %H:%M:%S} to {missed.until:%Y-%m-%d %H:%M:%S} UTC"
        print(f"events {span} were trimmed away before they were read", file=sys.stderr)

    return server.subscriber(on_unreadable=report_unreadable, on_missed=report_missed)


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
