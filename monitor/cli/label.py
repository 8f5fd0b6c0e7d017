"""`defect-monitor label`: what a person sees on a flagged or sampled frame."""

import getpass
from pathlib import Path
from typing import Annotated, Literal

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
from monitor.errors import ImageError, MonitorError, UsageError


def label(
    frame: Annotated[str, typer.Argument(metavar="ID", help="Id of an event or a sample.")],
    answer: Annotated[
        Literal["defect", "good", "unsure", "undo"],
        typer.Argument(help="What the frame shows; `undo` withdraws your last answer about it."),
    ],
    *,
    kind: Annotated[str | None, typer.Option(help="Kind of defect, such as `scratch`.")] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,W,H", help="Box around a defect in pixels of the frame; repeat it for further ones."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Image of the frame's size that is not black where the defect is, such as a PNG."),
    ] = None,
    author: Annotated[
        str | None, typer.Option(help="Who answers (default: the name of the user of this machine).")
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
    """Answer what a flagged or sampled frame shows; the answer goes to the stream `defects:labels`.

    Nothing is overwritten: a later answer of the same author replaces the earlier one, answers of several
    authors are kept side by side. With an ACL it needs the page's user.
    """
    from monitor.redis_streams.labelling import build_label, build_withdrawal, find_target, read_labels

    name = author or getpass.getuser()
    boxes = [_read_box(text) for text in box or ()]
    mask_png = None if mask is None else _read_mask(mask)
    server = RedisServer(config, url, prefix, username, password, tls_ca, tls_certificate, tls_key)
    history = server.history()
    try:
        if answer == "undo":
            labels = read_labels(history.all_between(history.keys.labels, "-"))
            entry = build_withdrawal(labels, frame, name)
            if entry is None:
                raise MonitorError(f"{name} has no answer about {frame} that could be withdrawn")
        else:
            target = find_target(history, frame)
            entry = build_label(target, answer, name, defect_kind=kind, boxes=boxes, mask_png=mask_png)
        history.add_label(entry)
    finally:
        history.close()
    print(entry.id)


def _read_box(text: str) -> tuple[int, int, int, int]:
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--box {text}: give four whole numbers, X,Y,W,H, in pixels") from None
    return x, y, width, height


def _read_mask(path: Path) -> str:
    """Return an image file as a mask for a label."""
    from monitor.imaging.masks import encode_mask

    try:
        return encode_mask(path.read_bytes())
    except OSError as error:
        raise UsageError(f"--mask {path}: {error.strerror}") from None
    except ImageError as error:
        raise UsageError(f"--mask {path}: {error}") from None
