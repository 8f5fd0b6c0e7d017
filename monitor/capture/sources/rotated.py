"""A source whose frames are turned by quarter turns."""

from typing import Any

import numpy as np

from monitor.capture.sources.base import Source
from monitor.records import Image


class RotatedSource:
    """Turns the frames of `source` clockwise by `degrees`, a multiple of 90; all else is the source's own."""

    def __init__(self, source: Source, degrees: int) -> None:
        self._source = source
        self._quarters = degrees // 90 % 4

    @property
    def live(self) -> bool:
        """As of the source."""
        return self._source.live

    @property
    def frame_interval(self) -> float | None:
        """As of the source."""
        return self._source.frame_interval

    @property
    def source_time(self) -> float | None:
        """As of the source."""
        return self._source.source_time

    @property
    def stream_time(self) -> float | None:
        """As of the source."""
        return self._source.stream_time

    def read(self) -> Image | None:
        """Return the next frame, None at the end."""
        image = self._source.read()
        return None if image is None else np.ascontiguousarray(np.rot90(image, -self._quarters))

    def close(self) -> None:
        """Release the source."""
        self._source.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)
