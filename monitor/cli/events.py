"""`defect-monitor events`: a subscriber for the terminal and for scripts."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.events.event import Event
    from monitor.redis_streams.subscriber import Subscriber


app = typer.Typer(help="Follow events, look at one, save them with their pictures.", no_args_is_help=True)


Url = Annotated[
    str, typer.Option(envvar="DEFECT_MONITOR_REDIS_URL", show_envvar=True, help="The Redis or Valkey server.")
]


Prefix = Annotated[str, typer.Option(help="What all keys begin with.")]


Group = Annotated[
    str | None,
    typer.Option(help="Share the events out with others that give this group, each acknowledged when done."),
]


Count = Annotated[int | None, typer.Option(min=1, help="End after so many events.")]


_URL = "redis://127.0.0.1:6379/0"


_PREFIX = "defects"


_ROW = "{:<19}  {:<10} {:>8}  {:<10} {:>5}  {}"


@app.command()
def tail(
    url: Url = _URL,
    prefix: Prefix = _PREFIX,
    group: Group = None,
    count: Count = None,
    stored: Annotated[bool, typer.Option("--stored", help="Begin with all that is stored.")] = False,
) -> None:
    """Follow events as they come: a table on a terminal, lines of JSON elsewhere. Ctrl-C ends it."""
    show = _row if sys.stdout.isatty() else _line
    start = "0" if stored else "$"
    with contextlib.suppress(KeyboardInterrupt), _open_pipe(), _subscriber(url, prefix) as subscriber:
        if show is _row:
            _heading()
        for event, acknowledge in islice(_events(subscriber, group, start, wait=True), count):
            show(event)
            acknowledge()


@app.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.")],
    url: Url = _URL,
    prefix: Prefix = _PREFIX,
    picture: Annotated[Path | None, typer.Option(help="Save the annotated picture here (JPEG).")] = None,
) -> None:
    """Show one event in full: a table on a terminal, JSON elsewhere."""
    with _subscriber(url, prefix) as subscriber:
        event = subscriber.find(event_id)
        jpeg = subscriber.picture(event) if picture else None
    if sys.stdout.isatty():
        _table(event)
    else:
        _line(event)
    if picture:
        if jpeg is None:
            raise MonitorError(f"the picture of {event_id} is not kept, or no longer")
        with _writing(picture):
            picture.write_bytes(jpeg)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The folder to write: `events.jsonl` and `frames/<id>.jpg`.")],
    *,
    url: Url = _URL,
    prefix: Prefix = _PREFIX,
    group: Group = None,
    count: Count = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with those that come.")] = False,
) -> None:
    """Save events as lines of JSON, with their annotated pictures.

    Without a group: all that is stored, written anew each time. With one: what the group has not had yet,
    added to what is there.
    """
    saved = pictures = 0
    with contextlib.suppress(KeyboardInterrupt), _writing(out), _subscriber(url, prefix) as subscriber:
        frames = out / "frames"
        frames.mkdir(parents=True, exist_ok=True)
        with (out / "events.jsonl").open("a" if group else "w", encoding="utf-8") as lines:
            for event, acknowledge in islice(_events(subscriber, group, "0", wait=follow), count):
                jpeg = subscriber.picture(event)
                if jpeg is not None:
                    (frames / f"{event.id}.jpg").write_bytes(jpeg)
                    pictures += 1
                lines.write(event.to_json() + "\n")
                lines.flush()
                acknowledge()
                saved += 1
    print(f"{saved} events and {pictures} pictures in {out}", file=sys.stderr)


def _subscriber(url: str, prefix: str) -> "Subscriber":
    from monitor.redis_streams.consumer_group import UnreadableEntry
    from monitor.redis_streams.subscriber import Subscriber

    def say(unreadable: UnreadableEntry) -> None:
        print(f"entry {unreadable.entry} passed over: {unreadable.reason}", file=sys.stderr)

    return Subscriber(url, prefix, on_unreadable=say)


def _events(
    subscriber: "Subscriber", group: str | None, start: str, *, wait: bool
) -> Iterator[tuple["Event", Callable[[], None]]]:
    """Events with how to acknowledge them, which without a group is nothing."""
    if group is not None:
        yield from subscriber.work(group, f"{socket.gethostname()}-{os.getpid()}", start=start, wait=wait)
        return
    for event in subscriber.follow(start) if wait else subscriber.stored():
        yield event, lambda: None


@contextlib.contextmanager
def _open_pipe() -> Iterator[None]:
    """End quietly when whoever reads our output, such as `head`, has had enough."""
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


def _line(event: "Event") -> None:
    print(event.to_json(), flush=True)


def _cells(event: "Event") -> tuple[Any, ...]:
    places = ", ".join(f"{place.x},{place.y} {place.width}×{place.height}" for place in event.regions)
    return (
        f"{event.captured_at.astimezone():%Y-%m-%d %H:%M:%S}",
        event.camera,
        event.frame_number,
        event.label,
        f"{event.score:.3f}",
        places or f"not localised: {event.explanation.reason}",
    )


def _heading() -> None:
    from rich.console import Console

    Console().print(_ROW.format("time", "camera", "frame", "label", "score", "where"), style="bold")


def _row(event: "Event") -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text(_ROW.format(*_cells(event)), overflow="ellipsis", no_wrap=True)
    Console().print(line, style="red" if event.regions else "yellow")


def _flat(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{part} {inner}" for part, inner in value.items() if inner is not None)


def _table(event: "Event") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(event.id), show_header=False)
    for name, value in event.model_dump(mode="json", exclude={"id", "regions"}).items():
        if value is not None:
            table.add_row(Text(name, style="bold"), Text(_flat(value)))
    for place in event.regions:
        box = f"{place.width}×{place.height} at {place.x},{place.y}, peak {place.peak}, {place.area} pixels"
        table.add_row(Text("place", style="bold"), Text(box))
    Console().print(table)
