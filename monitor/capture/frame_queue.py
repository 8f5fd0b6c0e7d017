"""Frames of one camera that are queued for classification. Pure: the times are arguments."""

from collections import deque
from collections.abc import Callable

from monitor.capture.frame_period import FramePeriod
from monitor.records import Frame


class FrameQueue:
    """Queue at most `buffer` frames; of a live camera, none is handed out that is older than `max_age`.

    `max_age` None: no limit where every frame is kept, else see `FramePeriod.max_age`. `period` learns the
    frame period elsewhere. `on_taken` of a frame is called when it is handed out.
    """

    def __init__(
        self, buffer: int, period: FramePeriod, max_age: float | None = None, *, keep_all: bool = False
    ) -> None:
        self._buffer = buffer
        self._period = period
        self._max_age = float("inf") if keep_all and max_age is None else max_age
        self._keep_all = keep_all
        self._frames: deque[tuple[Frame, Callable[[], None]]] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame, on_taken: Callable[[], None]) -> None:
        """Add the newest frame."""
        self._frames.append((frame, on_taken))

    def pop_excess(self, *, is_full: bool) -> Frame | None:
        """Remove and return the oldest frame, if more are queued than allowed, or no memory is left."""
        too_many = len(self._frames) > self._buffer or (is_full and len(self._frames) > 1)
        return self._frames.popleft()[0] if too_many and not self._keep_all else None

    def take(self, limit: int, now: float) -> tuple[list[Frame], list[Frame]]:
        """Remove up to `limit` frames, oldest first; return them, and those before them that are late."""
        taken: list[Frame] = []
        late: list[Frame] = []
        max_age = self._period.max_age(self._max_age)
        while self._frames and len(taken) < limit:
            frame, on_taken = self._frames.popleft()
            if now - frame.monotonic > max_age:
                late.append(frame)
            else:
                taken.append(frame)
                on_taken()
        return taken, late

    def drain(self) -> list[Frame]:
        """Remove and return all frames."""
        left = [frame for frame, _ in self._frames]
        self._frames.clear()
        return left
