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
import sys
from dataclasses import replace

import cv2

from monitor.capture.config import CaptureConfig
from monitor.capture.image_checks import FrozenDetector, QualityLimits
from monitor.capture.messages import SourceEnded, encode
from monitor.capture.worker.channel import DaemonChannel
from monitor.capture.worker.reader import FrameChecks, SourceReader, no_frozen_check
from monitor.capture.worker.timestamps import CaptureTimestamper

PR_SET_PDEATHSIG = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def main() -> None:
    """Read until the source ends or the daemon says so, is gone, or dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Ctrl-C and the service manager's signal reach all processes; the daemon alone decides what then ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(1)
    logging.getLogger("monitor").setLevel(logging.INFO)
    logging.basicConfig(format=f"%(levelname)s capture {sys.argv[1]}: %(message)s")
    connection = socket.socket(fileno=int(sys.argv[2]))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the daemon is gone: nobody to tell
        run_worker(connection, json.load(sys.stdin.buffer))
    os._exit(0)  # what libraries do on their way out is not worth a crash


def run_worker(connection: socket.socket, fields: dict[str, object]) -> None:
    """Carry out the order that `fields` holds, telling `connection`."""
    order = CaptureConfig(**fields)  # type: ignore[arg-type]  # as `asdict` made it, lists for tuples
    if fields.get("limits") is not None:
        order = replace(order, limits=QualityLimits(**fields["limits"]))  # type: ignore[arg-type]  # likewise
    port = DaemonChannel(connection, order.buffer_slots)
    SourceReader(
        order.open_source,
        port,
        FrameChecks(
            views=order.cut_tiles,
            check=order.unusable_reason,
            repeat_count=FrozenDetector().repeat_count if order.frozen_after else no_frozen_check,
            frozen=order.frozen_after,
        ),
        every=order.every,
        reopen=order.reopen,
        find_lost=order.find_lost,
        clock=lambda: CaptureTimestamper().timestamp,
    ).run()
    connection.send(encode(SourceEnded()))


if __name__ == "__main__":
    main()
