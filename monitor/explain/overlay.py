"""Heat on a picture. Pure: arrays in, a new picture out."""

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.records import Heat, Image


def emphasize(heat: Heat, steepness: float = 50.0, middle: float = 0.5) -> Heat:
    """Draw heat 0..1 apart around `middle`: 1 / (1 + exp(-steepness (heat - middle))), as the article does.

    What is clearly below `middle` goes to 0 and what is clearly above to 1.
    """
    return np.asarray(1 / (1 + np.exp(-steepness * (heat - np.float32(middle)))), np.float32)


def enlarge(heat: Heat, height: int, width: int) -> Heat:
    """Resize heat (rows, columns) to (height, width), bilinear between cell centres."""
    if heat.shape == (height, width):
        return heat
    return np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def superimpose(image: Image, heat: Heat, *, emphasized: bool = False, share: float = 0.5) -> Image:
    """Lay heat over a picture (h, w, 3): blue for 0 through green to red for 1, mixed in by `share` 0..1.

    Heat of another size is enlarged first.
    """
    large = enlarge(heat, *image.shape[:2])
    if emphasized:
        large = emphasize(large)
    colours = cv2.applyColorMap(_levels(large), cv2.COLORMAP_JET)
    return np.asarray(cv2.addWeighted(colours, share, image, 1 - share, 0), np.uint8)


def glow(heat: NDArray[np.float32]) -> Image:
    """Show heat (h, w) 0..1 by itself, black through red to white: fine structure stays visible."""
    return np.asarray(cv2.applyColorMap(_levels(heat), cv2.COLORMAP_INFERNO), np.uint8)


def _levels(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(heat, 0, 1) * 255), np.uint8)
