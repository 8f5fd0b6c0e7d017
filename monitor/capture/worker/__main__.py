"""The capture process of one camera: `python -m monitor.capture.worker NAME DESCRIPTOR`.

Its CaptureConfig comes on standard input, not as an argument: a source may hold a password.
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
from monitor.capture.frozen_detector import FrozenDetector
from monitor.capture.image_checks import QualityLimits
from monitor.capture.messages import SourceEnded, encode
from monitor.capture.worker.admission import AdmissionControl
from monitor.capture.worker.channel import DaemonChannel
from monitor.capture.worker.reader import FrameChecks, SourceReader, no_frozen_check
from monitor.capture.worker.timestamps import CaptureTimestamper

PR_SET_PDEATHSIG = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def main() -> None:
    """Read until the source ends or the daemon stops this process, exits or dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Ctrl-C and the service manager's signal reach all processes; the daemon alone decides what then ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(1)
    logging.getLogger("monitor").setLevel(logging.INFO)
    logging.basicConfig(format=f"%(levelname)s capture {sys.argv[1]}: %(message)s")
    connection = socket.socket(fileno=int(sys.argv[2]))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the daemon is gone
        run_worker(connection, json.load(sys.stdin.buffer))
    os._exit(0)  # what libraries do on their way out is not worth a crash


def run_worker(connection: socket.socket, fields: dict[str, object]) -> None:
    """Read the source of the CaptureConfig that `fields` holds; report to `connection`."""
    config = CaptureConfig(**fields)  # type: ignore[arg-type]  # as `asdict` made it, lists for tuples
    if fields.get("limits") is not None:
        config = replace(config, limits=QualityLimits(**fields["limits"]))  # type: ignore[arg-type]  # as above
    drops = config.bounds_age and not config.every
    admission = AdmissionControl(config.buffer, config.max_age) if drops else None
    channel = DaemonChannel(connection, config.buffer_slots, admission)
    SourceReader(
        config.open_source,
        channel,
        FrameChecks(
            views=config.cut_tiles,
            unusable_reason=config.unusable_reason,
            repeat_count=FrozenDetector().repeat_count if config.frozen_after else no_frozen_check,
            frozen=config.frozen_after,
        ),
        every=config.every,
        reopen=config.reopen,
        find_lost=config.find_lost,
        clock=lambda: CaptureTimestamper().timestamp,
    ).run()
    connection.send(encode(SourceEnded()))


if __name__ == "__main__":
    main()
