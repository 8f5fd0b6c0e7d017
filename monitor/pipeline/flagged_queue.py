"""Flagged frames on their way to an explanation, bounded in number and in bytes."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from monitor.pipeline.interfaces import FlaggedFrame, ignore

MAX_PINNED_FRAMES = 4
"""Flagged frames that may stay in the buffer of their camera; further ones are copied out of it."""


class FlaggedQueue:
    """Holds at most `max_frames` flagged frames and `max_bytes`, at least one. One thread puts, one takes.

    A frame that was taken stays in hand until `release`, so that `drain` finds every frame without an event.
    """

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self._max_frames, self._max_bytes = max_frames, max_bytes
        self._frames: deque[FlaggedFrame] = deque()
        self._bytes = 0
        self._in_hand: FlaggedFrame | None = None
        self._closed = self._drained = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def nbytes(self) -> int:
        """Bytes of the queued frames."""
        return self._bytes

    def put(self, flagged: FlaggedFrame, heartbeat: Callable[[], None] = ignore) -> bool:
        """Add a frame, once there is room for it; False if the queue was drained and takes none any more.

        While it blocks, it calls `heartbeat` twice a second.
        """
        if len(self._frames) >= MAX_PINNED_FRAMES:
            flagged = _detached_copy(flagged)
        size = flagged.nbytes
        with self._changed:
            while not self._drained and self._is_full(size):
                self._changed.wait(0.5)
                heartbeat()
            if self._drained:
                return False
            self._frames.append(flagged)
            self._bytes += size
            self._changed.notify_all()
            return True

    def take(self, timeout: float) -> FlaggedFrame | None:
        """Return the oldest frame and keep it in hand; None if there was none for `timeout` seconds."""
        with self._changed:
            if not self._frames and not self._closed:
                self._changed.wait(timeout)
            if not self._frames:
                return None
            self._in_hand = self._frames.popleft()
            self._bytes -= self._in_hand.nbytes
            self._changed.notify_all()
            return self._in_hand

    def release(self) -> bool:
        """Let go of the frame in hand, whose event follows; False if `drain` has given it out meanwhile."""
        with self._changed:
            self._in_hand = None
            return not self._drained

    def close(self) -> None:
        """Announce that no frame is added any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def is_finished(self) -> bool:
        """Whether the queue is closed and empty."""
        with self._changed:
            return self._closed and not self._frames

    def drain(self) -> list[FlaggedFrame]:
        """Return every frame that has no event, the one in hand first. From now on the queue takes none."""
        with self._changed:
            left = [*([] if self._in_hand is None else [self._in_hand]), *self._frames]
            self._frames.clear()
            self._in_hand, self._bytes, self._drained, self._closed = None, 0, True, True
            self._changed.notify_all()
            return left

    def _is_full(self, size: int) -> bool:
        if not self._frames:
            return False
        return len(self._frames) >= self._max_frames or self._bytes + size > self._max_bytes


def _detached_copy(flagged: FlaggedFrame) -> FlaggedFrame:
    """Return the same with pixels of its own."""
    frame = flagged.frame
    return replace(
        flagged,
        frame=replace(frame, image=frame.image.copy(), tile_inputs=frame.tile_inputs.copy()),
        tiles=tuple(replace(tile, image=tile.image.copy()) for tile in flagged.tiles),
    )
