"""The defect: a smooth, lobed patch in which the fine texture is blurred away, inside a larger ellipse."""

from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.imaging.ellipse import Ellipse
from monitor.records import Box


def random_defect(width: int, height: int, random: np.random.Generator) -> Ellipse:
    """Draw an ellipse in the image; the border may cut its tip, but never the patch inside.

    Sizes are those of DAGM's Class1 labels: semi-axes of 29..90 pixels in an image of 512x512.
    """
    shorter = min(width, height) / 512
    semi_major = shorter * random.triangular(38, 48, 90)
    semi_minor = max(semi_major * random.uniform(0.55, 1.0), 29 * shorter)
    inset = 0.75 * semi_major
    return Ellipse(
        center_x=random.uniform(inset, width - 1 - inset),
        center_y=random.uniform(inset, height - 1 - inset),
        semi_major=semi_major,
        semi_minor=semi_minor,
        angle=random.uniform(0, pi),
    )


def apply_defect(
    grey: NDArray[np.uint8], ellipse: Ellipse, grain: float, random: np.random.Generator
) -> None:
    """Blur the texture of `grey` (h, w) in place, in a patch inside the ellipse; nothing changes outside.

    `grain` is the size of the texture's spots in pixels: the coarser, the wider the blur that hides them.
    """
    height, width = grey.shape
    box = ellipse.box(width, height)
    sigma = random.uniform(5, 7) + 0.6 * grain
    margin = int(3 * sigma)
    around = Box(
        max(box.left - margin, 0),
        max(box.top - margin, 0),
        min(box.right + margin, width),
        min(box.bottom + margin, height),
    )
    piece = around.of(grey).astype(np.float32)
    smooth = cv2.GaussianBlur(piece, (0, 0), sigma)
    fraction = _blur_fraction(ellipse, around, random)  # (rows, columns), 0..1
    piece += fraction * (smooth - piece)
    around.of(grey)[:] = np.rint(piece).astype(np.uint8)


def _blur_fraction(ellipse: Ellipse, box: Box, random: np.random.Generator) -> NDArray[np.float32]:
    """Fraction of blur in each pixel of `box`: 1 in the patch, falling smoothly to 0 inside the ellipse."""
    x = np.arange(box.left, box.right, dtype=float)[None, :]
    y = np.arange(box.top, box.bottom, dtype=float)[:, None]
    along, across = ellipse.to_local(x, y)
    # Two or three overlapping round humps with an uneven edge: a lobed patch.
    hump = np.zeros(along.shape, np.float32)
    turn = random.uniform(0, 2 * pi)
    lobes = int(random.integers(2, 4))
    for lobe in range(lobes):
        direction = turn + 2 * pi * lobe / lobes + random.uniform(-0.5, 0.5)
        offset, size = random.uniform(0.12, 0.36), random.uniform(0.3, 0.46)
        away = np.hypot(along - offset * cos(direction), across - offset * sin(direction))
        hump += np.exp(-((away / size) ** 2))
    unevenness = random.normal(0, 0.12, (7, 7)).astype(np.float32)
    hump += cv2.resize(unevenness, hump.shape[::-1], interpolation=cv2.INTER_CUBIC)
    fraction = np.clip((hump - 0.2) / 0.45, 0, 1)
    fraction *= np.clip((1 - np.hypot(along, across)) / 0.25, 0, 1)  # nothing at the outline and beyond
    return np.asarray(fraction * fraction * (3 - 2 * fraction), np.float32)
