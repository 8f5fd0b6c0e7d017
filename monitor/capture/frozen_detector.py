"""Detect a camera that delivers the same frame again and again."""

import numpy as np

from monitor.records import Image

_BYTES = 1_000_000


class FrozenDetector:
    """Count how many identical frames arrived in a row.

    The detector compares whole rows byte by byte: all rows of frames up to 1 MB (577x577 pixels), and evenly
    spaced rows, 1 MB in total, of larger ones. It misses only a change that lies entirely between those
    rows. Sensor noise never does; a change in a rendered or noise-free frame may.
    """

    def __init__(self) -> None:
        self._last: Image | None = None
        self._repeats = 0

    def repeat_count(self, image: Image) -> int:
        """Return how many consecutive frames, up to `image` (height, width, 3) uint8, are identical."""
        every = -(-image.nbytes // _BYTES) or 1
        rows = image[::every]
        if self._last is not None and np.array_equal(rows, self._last):
            self._repeats += 1
        else:
            self._repeats = 1
            self._last = rows.copy()  # the buffer of the frame may be overwritten
        return self._repeats
