"""Whether a camera shows the same picture again and again, as a hung encoder does. Pure."""

import numpy as np

from monitor.records import Image

_BYTES = 1_000_000


class Stillness:
    """Counts how often one and the same picture came in a row.

    Compared are whole rows, all of them up to 1 MB (577x577 pixels), of larger pictures as many, evenly
    spaced, as fit that. They are compared byte by byte, not by a checksum: two pictures taken for one are
    equal in all those rows, so that a change must lie between them. The noise of a real sensor never does,
    but a picture drawn or coded without noise may.
    """

    def __init__(self) -> None:
        self._last: Image | None = None
        self._same = 0

    def see(self, image: Image) -> int:
        """How many pictures up to this one, (height, width, 3) uint8, are the same: 1 for a new one."""
        every = -(-image.nbytes // _BYTES) or 1
        rows = image[::every]
        if self._last is not None and np.array_equal(rows, self._last):
            self._same += 1
        else:
            self._same = 1
            self._last = rows.copy()  # the picture itself may be overwritten
        return self._same
