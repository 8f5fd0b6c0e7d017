"""Motion JPEG of the cameras' live frames, for a bounded number of viewers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from monitor.errors import DeliveryError
from monitor.redis_streams.history import StreamHistory
from monitor.redis_streams.preview import Preview

CONTENT_TYPE = "multipart/x-mixed-replace; boundary=frame"

_PERIOD = 0.2
"""Seconds between two reads of a camera's live frame, however many watch it."""

_WATCH_TTL = 5
"""Seconds that the daemon goes on with live frames after the last viewer left."""


@dataclass(slots=True)
class _Reading:
    """What was last read of one camera."""

    at: float = float("-inf")
    frame: Preview | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class VideoStreams:
    """Streams of live frames to at most `limit` viewers. Belongs to one event loop."""

    def __init__(self, history: StreamHistory, *, limit: int = 8) -> None:
        self._history = history
        self._limit = limit
        self._viewers = 0
        self._readings: dict[str, _Reading] = {}

    @property
    def is_full(self) -> bool:
        """Whether no further viewer is admitted."""
        return self._viewers >= self._limit

    async def stream(self, camera: str, is_stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield each new frame of a camera, until the viewer leaves or `is_stopping`; nothing if full."""
        if self.is_full:
            return
        self._viewers += 1
        try:
            shown = None
            yield b"--frame\r\n"
            while not is_stopping():
                frame = await self._latest(camera)
                # The number alone would not do: it starts again with the daemon.
                if frame is not None and (frame.frame_number, frame.captured_at) != shown:
                    shown = frame.frame_number, frame.captured_at
                    # A browser shows a part when the boundary after it arrives.
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(frame.jpeg)}\r\n\r\n"
                    yield head.encode() + frame.jpeg + b"\r\n--frame\r\n"
                await asyncio.sleep(_PERIOD)
        finally:
            self._viewers -= 1

    async def _latest(self, camera: str) -> Preview | None:
        reading = self._readings.setdefault(camera, _Reading())
        async with reading.lock:
            if time.monotonic() - reading.at >= _PERIOD:
                reading.frame = await asyncio.to_thread(self._read, camera)
                reading.at = time.monotonic()
        return reading.frame

    def _read(self, camera: str) -> Preview | None:
        try:
            self._history.watch(_WATCH_TTL)
            return self._history.live_frame(camera)
        except DeliveryError:  # the bar at the top of the page reports it
            return None
