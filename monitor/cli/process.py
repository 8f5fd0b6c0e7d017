"""Signals, exit and library threads of a command that runs for long."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at the first SIGINT or SIGTERM; at the second, exit at once with 128 + its number."""
    is_stopping = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            os._exit(128 + number)
        is_stopping = True
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def exit_now(code: int) -> NoReturn:
    """End the process at once, with its output written.

    A thread in native code, such as a read that hangs or one of TensorFlow's, can abort the interpreter's
    regular exit, and change the exit code.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def limit_library_threads() -> None:
    """Restrict NumPy and OpenCV to the calling thread; to be called before either is imported.

    Their matrices and images are small here. On several threads they would wait for each other and take cores
    from the network in the middle of a batch. On two busy cores the novelty of a batch took 21 ms with
    OpenBLAS's own choice of threads, and 0.5 ms with one.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)
