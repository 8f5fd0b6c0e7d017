"""OpenVINO runs networks, tells nobody, and leaves the signals of the process alone."""

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


_FREEING = """
import signal, sys, threading
from pathlib import Path
import numpy as np
from monitor.inference.backends.openvino import OpenVinoBackend, import_openvino

openvino, folder = import_openvino(), Path(sys.argv[1])
masked = openvino.opset13.parameter([1, 4], np.float32, name="masked")
weights = openvino.opset13.relu(masked)
model = openvino.Model([weights], [masked])
model.input(0).tensor.names, model.output(0).tensor.names = {"masked"}, {"weights"}
openvino.save_model(model, folder / "score_maps.xml")
graphs = [OpenVinoBackend(1).compile(folder, "score_maps", batch=1, precision="fp32")]
assert graphs[0](np.ones((1, 4), np.float32))[0].sum() == 4
other = threading.Thread(target=graphs.clear)
other.start()
other.join()
signal.signal(signal.SIGHUP, lambda *_: print("handled"))
signal.raise_signal(signal.SIGHUP)
"""


def test_a_signal_is_handled_after_another_thread_freed_the_last_network(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _FREEING, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "handled\n"), ran.stderr
