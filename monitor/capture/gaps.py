"""Frames that nobody will look at, merged into few reports. Pure: the times come in."""

from datetime import datetime

from monitor.records import Gap


class GapAggregator:
    """Collects lost frames of one camera and gives them out as Gaps, for each cause at most one a `window`.

    Every frame entered is in exactly one Gap given out. A Gap's `frames` counts its lost frames: between its
    first and last there may be frames that were inspected.
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
        detail: str | None = None,
        until: datetime | None = None,
    ) -> None:
        """Enters frame `number`, captured `at`. Numbers of one cause come in rising order.

        Where the cause began before the frame, `at` is when it began and `until` when the frame was captured.
        """
        until = at if until is None else until
        if cause not in self._open:
            self._open[cause] = monotonic, Gap(self._camera, number, number, at, until, 1, cause, detail)
            return
        since, gap = self._open[cause]
        self._open[cause] = (
            since,
            Gap(self._camera, gap.first, number, gap.started_at, until, gap.frames + 1, cause, gap.detail),
        )

    def pop_due(self, monotonic: float) -> list[Gap]:
        """The Gaps begun a window or longer ago; they are closed by this."""
        ripe = [cause for cause, (since, _) in self._open.items() if monotonic - since >= self._window]
        return [self._open.pop(cause)[1] for cause in ripe]

    def pop_all(self) -> list[Gap]:
        """All that is left."""
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
        """Nothing comes, for `cause`, from `since` on; the Gap that this ends, if there is one."""
        before = self._open
        if before is not None and before.cause == cause:
            return None
        self._open = Gap(self._camera, None, None, since, since, 0, cause, detail)
        return None if before is None else _closed_at(before, since)

    def close(self, at: datetime) -> Gap | None:
        """A frame came, or the camera was ended; the last Gap of the outage, if there was one."""
        before, self._open = self._open, None
        return None if before is None else _closed_at(before, at)


def _closed_at(gap: Gap, at: datetime) -> Gap:
    # The wall clock may have been set back in between.
    return Gap(gap.camera, None, None, gap.started_at, max(at, gap.started_at), 0, gap.cause, gap.detail)
