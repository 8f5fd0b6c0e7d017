"""Whose turn it is at the device: verdicts go first, explanations in between."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Gate:
    """Lets one piece of work at a time onto the device, so that none slows down another halfway.

    `first` is for verdicts: they wait for what runs and for nothing else. `after` is for short steps of
    explanations: they wait until no verdict does. Where verdicts never pause, as with a recorded video, a
    step is let in once it has waited so long that explanations take `share` (above 0, to 1) of the time:
    a step that takes c seconds waits c (1/share - 1). One thread at a time may use each.
    """

    def __init__(self, share: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = 1 / share - 1
        self._clock = clock
        self._changed = threading.Condition()
        self._busy = False
        self._verdicts = 0  # that wait
        self._overdue = False
        self._last_step = 0.0

    @contextmanager
    def first(self) -> Iterator[None]:
        """The device for a verdict."""
        with self._changed:
            self._verdicts += 1
            try:
                self._changed.wait_for(lambda: not self._busy and not self._overdue)
                self._busy = True
            finally:
                self._verdicts -= 1
        try:
            yield
        finally:
            self._free()

    @contextmanager
    def after(self) -> Iterator[None]:
        """The device for a step of an explanation."""
        with self._changed:
            patience = self._last_step * self._patience
            if not self._changed.wait_for(lambda: not self._busy and not self._verdicts, patience):
                self._overdue = True
                try:
                    self._changed.wait_for(lambda: not self._busy)
                finally:
                    self._overdue = False
            self._busy = True
        began = self._clock()
        try:
            yield
        finally:
            self._last_step = self._clock() - began
            self._free()

    def _free(self) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
