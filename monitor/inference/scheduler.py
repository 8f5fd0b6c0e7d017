"""Scheduling of the device: one piece of work at a time, verdicts first, in passes that cost least."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class DeviceScheduler:
    """Lets one piece of work at a time onto the device, so that none slows down another.

    `verdict_slot` waits for what runs and for nothing else; `explanation_slot`, for short steps, also until
    no verdict is waiting. Verdicts of a thread that called `defer_thread` wait as explanations do.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = self._verdict_waits = False
        self._thread = threading.local()

    def defer_thread(self) -> None:
        """Let verdicts that this thread asks for wait as explanations do, from now on."""
        self._thread.is_deferred = True

    @contextmanager
    def verdict_slot(self) -> Iterator[None]:
        """Hold the device for a verdict."""
        if getattr(self._thread, "is_deferred", False):
            with self.explanation_slot():
                yield
            return
        with self._changed:
            self._verdict_waits = True
            self._changed.wait_for(lambda: not self._busy)
            self._verdict_waits, self._busy = False, True
        try:
            yield
        finally:
            self._free_slot()

    @contextmanager
    def explanation_slot(self) -> Iterator[None]:
        """Hold the device for a step of an explanation."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy and not self._verdict_waits)
            self._busy = True
        try:
            yield
        finally:
            self._free_slot()

    def _free_slot(self) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def in_background(self) -> "DeviceScheduler":
        """Return a scheduler of the same device whose verdicts wait as steps of an explanation do."""
        return _BackgroundScheduler(self)


class _BackgroundScheduler(DeviceScheduler):
    """Lets verdicts that nobody waits for onto the device of `scheduler`, after all others."""

    def __init__(self, scheduler: DeviceScheduler) -> None:
        self._scheduler = scheduler

    @contextmanager
    def verdict_slot(self) -> Iterator[None]:
        with self._scheduler.explanation_slot():
            yield

    @contextmanager
    def explanation_slot(self) -> Iterator[None]:
        with self._scheduler.explanation_slot():
            yield


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
