"""A capture process that opens its source again at once, however often: for a thousand times in minutes."""

import itertools
import json
import socket
import subprocess
import sys
from dataclasses import asdict
from functools import partial

from monitor.capture.config import CaptureConfig
from monitor.capture.worker import __main__ as worker


def launch(name: str, order: CaptureConfig, connection: socket.socket) -> "subprocess.Popen[bytes]":
    """Start it as `monitor.capture.supervisor.launch` starts the real one."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.eager_worker", name, str(connection.fileno())],
        pass_fds=[connection.fileno()],
        stdin=subprocess.PIPE,
    )
    connection.close()
    assert process.stdin
    with process.stdin as order_goes_to:
        order_goes_to.write(json.dumps(asdict(order)).encode())
    return process


if __name__ == "__main__":
    worker.SourceReader = partial(worker.SourceReader, delays=lambda: itertools.repeat(0.0))  # type: ignore[misc, assignment]
    worker.main()
