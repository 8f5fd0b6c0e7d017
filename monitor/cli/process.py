"""Ctrl-C and SIGTERM: the first asks the program to finish, the second ends it at once."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at the first SIGINT or SIGTERM; at the next, leave the process with 128 + its number."""
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
    """End the process at once, after all work is done and all output written.

    A thread in native code, such as a hung read or one of TensorFlow's, can abort the normal exit and change
    the exit code.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def limit_library_threads() -> None:
    """Limit NumPy and OpenCV to the calling thread; call this before either is imported.

    Their arrays are small here: spread over threads, the work waits for other threads and takes cores from
    the network in the middle of a batch. On two busy cores the distances of a batch from the training
    data took 21 ms with OpenBLAS's own choice of threads, and 0.5 ms with one.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)
