"""Frames that nobody will look at, merged into few reports. Pure: the times come in."""

from datetime import datetime

from monitor.records import Gap


class GapLedger:
    """Collects lost frames of one camera and gives them out as Gaps, for each cause at most one a `window`.

    Every frame entered is in exactly one Gap given out. A Gap's `frames` counts its lost frames: between its
    first and last there may be frames that were inspected.
    """

    def __init__(self, camera: str, window: float = 1.0) -> None:
        self._camera = camera
        self._window = window
        self._open: dict[str, tuple[float, Gap]] = {}

    def add(
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

    def due(self, monotonic: float) -> list[Gap]:
        """The Gaps begun a window or longer ago; they are closed by this."""
        ripe = [cause for cause, (since, _) in self._open.items() if monotonic - since >= self._window]
        return [self._open.pop(cause)[1] for cause in ripe]

    def flush(self) -> list[Gap]:
        """All that is left."""
        gaps = [gap for _, gap in self._open.values()]
        self._open.clear()
        return gaps
