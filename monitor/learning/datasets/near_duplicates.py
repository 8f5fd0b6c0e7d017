"""Images that show nearly the same: a photograph saved twice, or a part exposed twice."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.records import Image

Thumbnail = NDArray[np.float32]
"""(1024,) float32 of length 1: the structure of an image, without its brightness and shading."""


SIDE = 32


MAX_DIFFERENCE = 0.02
"""One minus the correlation of two thumbnails, below which their images count as nearly the same.

Measured: copies in JPEG of quality 50, at 0.7 of the size, 15 % brighter, blurred or noisy differ by up to
0.012; other images of DAGM by 0.12 or more; exposures of one magnetic tile by 0.004 to 0.02.
"""


MAX_GROUP = 12
"""Images in the largest group, above which all images are alike: one kind of part at one place."""


_BLOCK = 1024


def thumbnail(image: Image) -> Thumbnail:
    """Return what is compared of `image` (h, w, 3) uint8."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    structure = (small - cv2.GaussianBlur(small, (0, 0), SIDE / 8)).ravel()
    structure -= structure.mean()
    return np.asarray(structure / max(float(np.linalg.norm(structure)), 1e-6), np.float32)


def near_duplicates(thumbnails: Sequence[Thumbnail]) -> list[list[int]]:
    """Return groups of indices of images that are nearly the same, each of two or more.

    None where a group is larger than `MAX_GROUP`: then likeness means nothing.
    """
    roots = list(range(len(thumbnails)))

    def root(index: int) -> int:
        while roots[index] != index:
            roots[index] = roots[roots[index]]
            index = roots[index]
        return index

    every = np.stack(thumbnails) if len(thumbnails) else np.empty((0, SIDE * SIDE), np.float32)
    for start in range(0, len(every), _BLOCK):
        likeness = every[start : start + _BLOCK] @ every.T
        for row, other in np.argwhere(likeness > 1 - MAX_DIFFERENCE):
            first, second = sorted((root(start + int(row)), root(int(other))))
            roots[second] = first
    groups: dict[int, list[int]] = {}
    for index in range(len(roots)):
        groups.setdefault(root(index), []).append(index)
    found = [group for group in groups.values() if len(group) > 1]
    return [] if any(len(group) > MAX_GROUP for group in found) else found
