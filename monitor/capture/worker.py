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
from dataclasses import asdict, replace

import cv2

from monitor.capture.clock import CaptureClock
from monitor.capture.frozen import Stillness
from monitor.capture.messages import Ended, encode
from monitor.capture.order import Order
from monitor.capture.port import SocketPort
from monitor.capture.reader import Inspection, Reader, never_still
from monitor.capture.sanity import Limits

_DEATH_OF_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


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
        order.open,
        port,
        Inspection(
            views=order.views,
            amiss=order.amiss,
            still=Stillness().see if order.frozen else never_still,
            frozen=order.frozen,
        ),
        every=order.every,
        reopen=order.reopen,
        clock=lambda: CaptureClock().captured,
    ).run()
    connection.send(encode(Ended()))


if __name__ == "__main__":
    main()
