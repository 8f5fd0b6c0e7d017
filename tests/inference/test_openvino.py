"""OpenVINO runs networks, and tells nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import socket

def spied(*where, **more):
    print("asks for", where[:2])
    raise OSError("nobody is to be asked")

socket.getaddrinfo = socket.socket.connect = spied
from monitor.inference.backends.openvino import OpenVinoBackend
OpenVinoBackend()
import threading
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(20)
print("ran")
"""


def test_nothing_is_sent_to_its_makers(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "ran\n"
    assert not list(tmp_path.iterdir())
