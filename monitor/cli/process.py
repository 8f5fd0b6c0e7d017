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
    asked = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def exit_now(code: int) -> NoReturn:
    """End the process now, when all is done and said.

    A thread in native code, such as a read that hangs or one of TensorFlow's, can abort the interpreter's
    own way out, and the exit code with it.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def limit_library_threads() -> None:
    """Keep NumPy and OpenCV to the thread that asks; to be called before either is imported.

    Their products and pictures are small here: spread over threads, these wait for each other and take cores
    from the network in the middle of a batch. On two busy cores the distances of a batch from the training
    data took 21 ms with OpenBLAS's own choice of threads, and 0.5 ms with one.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)
