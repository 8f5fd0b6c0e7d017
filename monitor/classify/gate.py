"""Whose turn it is at the device: verdicts go first, explanations in between."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SOON = 0.0005
"""Seconds, the shortest wait: clocks and timers are not finer."""


class Gate:
    """Lets one piece of work at a time onto the device, so that none slows down another halfway.

    `first` is for verdicts: they wait for what runs and for nothing else. `after` is for short steps of
    explanations: they wait until no verdict does. Where verdicts never pause, as with a recorded video, a
    step is let in once it has waited so long that explanations take `share` (above 0, to 1) of the time:
    a step that takes c seconds waits c (1/share - 1). One thread at a time may use each.

    `room` says how many seconds are left until a verdict will want the device. A step that would take longer
    than that, as the last one did, is kept back just as if the verdict were there.
    """

    def __init__(
        self,
        share: float = 1.0,
        room: Callable[[float], float] = lambda _: math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience = 1 / share - 1
        self._room = room
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
            if not self._wait_for_room(self._clock() + self._last_step * self._patience):
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

    def _wait_for_room(self, until: float) -> bool:
        """Wait, at most `until`, for a moment in which a step is in nobody's way; whether there was one."""
        while True:
            now = self._clock()
            free = not self._busy and not self._verdicts
            room = self._room(now) if free else math.inf
            if free and self._last_step <= room:
                return True
            if now >= until:
                return False
            # Where only the room is too small, nobody tells when there is more: look again when it is over.
            self._changed.wait(max(_SOON, min(until - now, room)))

    def _free(self) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
