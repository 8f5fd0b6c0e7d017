"""The time in which a camera delivered nothing, as Gaps without frames. Pure: the times come in."""

from datetime import datetime

from monitor.records import Gap


class Outage:
    """Follows one camera from its last good frame to the next one, in one Gap for each cause in turn.

    The Gaps of an outage adjoin: where the cause changes, one ends and the next begins.
    """

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._open: Gap | None = None

    def begin(self, cause: str, since: datetime, detail: str | None = None) -> Gap | None:
        """Nothing comes, for `cause`, from `since` on; the Gap that this ends, if there is one."""
        before = self._open
        if before is not None and before.cause == cause:
            return None
        self._open = Gap(self._camera, None, None, since, since, 0, cause, detail)
        return None if before is None else _until(before, since)

    def end(self, at: datetime) -> Gap | None:
        """A frame came, or the camera was ended; the last Gap of the outage, if there was one."""
        before, self._open = self._open, None
        return None if before is None else _until(before, at)


def _until(gap: Gap, at: datetime) -> Gap:
    # The wall clock may have been set back in between.
    return Gap(gap.camera, None, None, gap.started_at, max(at, gap.started_at), 0, gap.cause, gap.detail)
