"""Scheduling of the device: one piece of work at a time, verdicts first, in passes that cost least."""

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class DeviceScheduler:
    """Lets one piece of work at a time onto the device, so that none slows down another.

    `verdict_slot` waits for what runs; `explanation_slot`, for short steps, also until no verdict is waiting.
    Verdicts of a thread that is `in_background` wait as explanations do.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = False
        self._waiting_verdicts = 0
        self._verdicts = 0  # that got the device so far
        # For each step that waits: the count of verdicts from which on it goes first.
        self._due: list[float] = []
        self._background = threading.local()

    @contextmanager
    def in_background(self, patience: float = math.inf) -> Iterator[None]:
        """Let verdicts of this thread wait as explanations do.

        After `patience` verdicts of other threads, what this thread asks for goes before the next one.
        """
        self._background.patience = patience
        try:
            yield
        finally:
            del self._background.patience

    @contextmanager
    def verdict_slot(self) -> Iterator[None]:
        """Hold the device for a verdict."""
        if hasattr(self._background, "patience"):
            with self.explanation_slot():
                yield
            return
        with self._changed:
            self._waiting_verdicts += 1
            self._changed.wait_for(
                lambda: not self._busy and min(self._due, default=math.inf) > self._verdicts
            )
            self._waiting_verdicts -= 1
            self._verdicts += 1
            self._busy = True
        try:
            yield
        finally:
            self._free_slot()

    @contextmanager
    def explanation_slot(self) -> Iterator[None]:
        """Hold the device for a step of an explanation."""
        with self._changed:
            due = self._verdicts + getattr(self._background, "patience", math.inf)
            self._due.append(due)
            self._changed.wait_for(
                lambda: not self._busy and (not self._waiting_verdicts or due <= self._verdicts)
            )
            self._due.remove(due)
            self._busy = True
        try:
            yield
        finally:
            self._free_slot()

    def _free_slot(self) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()


def split_batch(costs: Mapping[int, float], count: int) -> tuple[int, ...]:
    """Find the passes in which `count` (0 or more) images cost least; return their sizes, largest first.

    `costs` are those of a pass of each size, above 0, in any unit. The last pass may be padded: where a pass
    costs the same however full it is, as on a large GPU, padding one is cheaper than two passes, while a
    processor takes as long for each image.
    """
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for images in range(1, count + 1):
        options = ((size, cost, best[max(0, images - size)]) for size, cost in costs.items())
        best.append(min((cost + rest, (size, *passes)) for size, cost, (rest, passes) in options))
    return tuple(sorted(best[count][1], reverse=True))
