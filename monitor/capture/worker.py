"""The capture process of one camera: `python -m monitor.capture.worker NAME DESCRIPTOR`.

The order comes on standard input, not as arguments: a source's address may hold a password.
"""

import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

import cv2
import numpy as np

from monitor.capture.clock import CaptureClock
from monitor.capture.frozen import Stillness
from monitor.capture.hardware import Decode
from monitor.capture.messages import Ended, encode
from monitor.capture.port import SocketPort
from monitor.capture.reader import Inspection, Reader, Views
from monitor.capture.sanity import Limits, unusable
from monitor.capture.source import open_source
from monitor.locate.fit import fit
from monitor.locate.geometry import network_views
from monitor.records import Box, Image

_DEATH_OF_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a capture process is to read, and how.

    `roi` is (left, top, right, bottom) in pixels, `input_size` (height, width), `slots` the pictures that may
    be on their way or waiting; without `limits` every picture is judged. The others are as in the settings.
    """

    source: str
    every: bool
    reopen: bool
    input_size: tuple[int, int]
    slots: int
    fps: float | None = None
    loop: bool = False
    open_timeout: float = 5.0
    read_timeout: float = 5.0
    roi: tuple[int, int, int, int] | None = None
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.0
    frozen: int = 0
    decode: Decode = "software"
    limits: Limits | None = None


def launch(name: str, order: Order, connection: socket.socket) -> "subprocess.Popen[bytes]":
    """Start the capture process of the camera `name` on `connection`, which it takes over.

    Must be called by a thread that lives as long as the process is needed: they end together.
    """
    process = subprocess.Popen(  # noqa: S603 (this interpreter, this module)
        # -P: a file in the working directory must not stand in for a library.
        [sys.executable, "-P", "-m", "monitor.capture.worker", name, str(connection.fileno())],
        pass_fds=[connection.fileno()],
        stdin=subprocess.PIPE,
        # One picture at a time: threads of its libraries would only take the network's cores.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    connection.close()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as order_goes_to:
            order_goes_to.write(json.dumps(asdict(order)).encode())
    return process


def main() -> None:
    """Read until the source ends or the daemon says so, is gone, or dies."""
    ctypes.CDLL(None).prctl(_DEATH_OF_PARENT, signal.SIGKILL)
    # Ctrl-C and the service manager's signal reach all processes; the daemon alone decides what then ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(1)
    logging.getLogger("monitor").setLevel(logging.INFO)
    logging.basicConfig(format=f"%(levelname)s capture {sys.argv[1]}: %(message)s")
    connection = socket.socket(fileno=int(sys.argv[2]))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the daemon is gone: nobody to tell
        serve(connection, json.load(sys.stdin.buffer))
    os._exit(0)  # what libraries do on their way out is not worth a crash


def serve(connection: socket.socket, fields: dict[str, object]) -> None:
    """Carry out the order that `fields` holds, telling `connection`."""
    order = Order(**fields)  # type: ignore[arg-type]  # as `asdict` made it, lists for tuples
    if fields.get("limits") is not None:
        order = replace(order, limits=Limits(**fields["limits"]))  # type: ignore[arg-type]  # likewise
    port = SocketPort(connection, order.slots)
    Reader(
        partial(
            open_source,
            order.source,
            fps=order.fps,
            loop=order.loop,
            own_rate=not order.every,
            open_timeout=order.open_timeout,
            read_timeout=order.read_timeout,
            decode=order.decode,
        ),
        port,
        _inspection(order),
        every=order.every,
        reopen=order.reopen,
        clock=lambda: CaptureClock().captured,
    ).run()
    connection.send(encode(Ended()))


def _inspection(order: Order) -> Inspection:
    inspection = Inspection(views=_viewer(order), frozen=order.frozen)
    if order.limits is not None:
        inspection = replace(inspection, amiss=partial(_amiss, order.roi, order.limits))
    if order.frozen:
        inspection = replace(inspection, still=Stillness().see)
    return inspection


def _amiss(roi: tuple[int, int, int, int] | None, limits: Limits, image: Image) -> str | None:
    """Looks at what is inspected: a dark surround is no fault."""
    if roi is not None:
        left, top, right, bottom = roi
        image = image[top:bottom, left:right]
    return unusable(image, limits) if image.size else None


def _viewer(order: Order) -> Callable[[Image], Views]:
    roi = None if order.roi is None else Box(*order.roi)
    rows, columns = order.tiles
    height, width = order.input_size

    def views(image: Image) -> Views:
        boxes = network_views(
            image.shape[1], image.shape[0], roi=roi, tiles=(rows, columns), overlap=order.overlap
        )
        parts = [image[box.top : box.bottom, box.left : box.right] for box in boxes]
        return boxes, np.stack([fit(part, (height, width)) for part in parts])

    return views


if __name__ == "__main__":
    main()
