"""Frames that were not inspected, merged into few reports. Pure: the times are arguments."""

from dataclasses import replace
from datetime import datetime

from monitor.records import Frame, Gap, LostFrames, add_numbers

_MAX_LOST = 500
"""Losses in one Gap; more make a Gap due before its window is over."""

_MAX_DETAIL = 1000
"""Characters of a detail to which no further name of a file is added."""


class GapAggregator:
    """Collects lost frames of one camera and returns them as Gaps, for each cause at most one per `window`.

    Every recorded number is in the `numbers` of exactly one returned Gap. `window` is in seconds.
    """

    def __init__(self, camera: str, window: float = 1.0) -> None:
        self._camera = camera
        self._window = window
        self._open: dict[str, tuple[float, Gap]] = {}

    def record_lost(
        self,
        cause: str,
        number: int,
        at: datetime,
        monotonic: float,
        *,
        frames: int = 1,
        detail: str | None = None,
        until: datetime | None = None,
        name: str | None = None,
    ) -> None:
        """Record `frames` lost frames from `number` on, captured `at`; each number once.

        Where the cause began before the frame, `at` is when it began and `until` when the frame was captured.
        `name` is that of the frame's file: the detail of the Gap lists the names, of many the first ones.
        """
        if name is not None and name not in (detail or ""):
            detail = name if detail is None else f"{name}: {detail}"
        until = at if until is None else until
        last = number + frames - 1
        lost = LostFrames(number, last, until if frames == 1 else at, name)
        if cause not in self._open:
            self._open[cause] = (
                monotonic,
                Gap(self._camera, number, last, at, until, frames, cause, detail, lost=(lost,)),
            )
            return
        since, gap = self._open[cause]
        numbers = add_numbers(gap.numbers, number, last)
        self._open[cause] = (
            since,
            replace(
                gap,
                first=numbers[0][0],
                last=numbers[-1][1],
                started_at=min(gap.started_at, at),
                ended_at=max(gap.ended_at, until),
                frames=gap.frames + frames,
                numbers=numbers,
                lost=(*gap.lost, lost),
                detail=gap.detail if name is None else _with_name(gap.detail or "", name),
            ),
        )

    def record_frame(self, cause: str, frame: Frame, monotonic: float) -> None:
        """Record a frame that arrived and is not inspected."""
        self.record_lost(cause, frame.number, frame.captured_at, monotonic, name=frame.source_name)

    def pop_due(self, monotonic: float) -> list[Gap]:
        """Close and return the Gaps that began a window or longer ago, or that hold many losses."""
        expired = [
            cause
            for cause, (since, gap) in self._open.items()
            if monotonic - since >= self._window or len(gap.lost) >= _MAX_LOST
        ]
        return [self._open.pop(cause)[1] for cause in expired]

    def pop_all(self) -> list[Gap]:
        """Close and return all Gaps."""
        gaps = [gap for _, gap in self._open.values()]
        self._open.clear()
        return gaps


class OutageTracker:
    """Follows one camera from its last good frame to the next one, in one Gap for each cause in turn.

    The Gaps of an outage adjoin: where the cause changes, one ends and the next begins.
    """

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._open: Gap | None = None

    def open(self, cause: str, since: datetime, detail: str | None = None) -> Gap | None:
        """No frame comes, for `cause`, from `since` on; return the Gap that this ends, if there is one."""
        before = self._open
        if before is not None and before.cause == cause:
            return None
        self._open = Gap(self._camera, None, None, since, since, 0, cause, detail)
        return None if before is None else _closed_at(before, since)

    def close(self, at: datetime) -> Gap | None:
        """A frame came, or the camera was ended; return the last Gap of the outage, if there was one."""
        before, self._open = self._open, None
        return None if before is None else _closed_at(before, at)


def _with_name(detail: str, name: str) -> str:
    if len(detail) > _MAX_DETAIL:
        return detail if detail.endswith(", …") else f"{detail}, …"
    return f"{detail}{', ' if '; also ' in detail else '; also '}{name}"


def _closed_at(gap: Gap, at: datetime) -> Gap:
    # The wall clock may have been set back in between.
    return replace(gap, ended_at=max(at, gap.started_at))
