"""Durations of the stages that a frame goes through."""

from collections.abc import Callable

from monitor.records import Stage


class StageTimer:
    """Measures stages that follow each other without a pause, from `started` seconds of `clock` on."""

    def __init__(self, started: float, clock: Callable[[], float]) -> None:
        self.durations: dict[Stage, float] = {}
        self._clock = clock
        self._last = started

    def mark(self, stage: Stage) -> None:
        """Record the time since the last mark as the duration of `stage`."""
        now = self._clock()
        self.durations[stage] = now - self._last
        self._last = now
