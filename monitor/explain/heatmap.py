"""Draw heat on an image. Pure functions that return new images."""

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.records import Heatmap, Image


def emphasize(heat: Heatmap, steepness: float = 50.0, middle: float = 0.5) -> Heatmap:
    """Increase the contrast of heat 0..1 around `middle`: 1 / (1 + exp(-steepness (heat - middle))).

    Values clearly below `middle` become 0, values clearly above it 1, as in the article.
    """
    return np.asarray(1 / (1 + np.exp(-steepness * (heat - np.float32(middle)))), np.float32)


def upsample(heat: Heatmap, height: int, width: int) -> Heatmap:
    """Resize heat (rows, columns) to (height, width), bilinear between cell centres."""
    if heat.shape == (height, width):
        return heat
    return np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def overlay_heatmap(image: Image, heat: Heatmap, *, emphasized: bool = False, share: float = 0.5) -> Image:
    """Blend heat into an image (h, w, 3): blue for 0 through green to red for 1, with weight `share` 0..1.

    Heat of another size is enlarged first.
    """
    large = upsample(heat, *image.shape[:2])
    if emphasized:
        large = emphasize(large)
    colours = cv2.applyColorMap(_levels(large), cv2.COLORMAP_JET)
    return np.asarray(cv2.addWeighted(colours, share, image, 1 - share, 0), np.uint8)


def colorize(heat: NDArray[np.float32]) -> Image:
    """Colour heat (h, w) 0..1 without an image, black through red to white; fine structure stays visible."""
    return np.asarray(cv2.applyColorMap(_levels(heat), cv2.COLORMAP_INFERNO), np.uint8)


def _levels(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(heat, 0, 1) * 255), np.uint8)


def sobel_edges(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Measure the edges of an image (h, w, d) of any range: (h, w) float32, 0..1, zero without edges.

    The magnitude of the 3x3 Sobel gradient of the mean over the channels, dilated 5x5, scaled from its
    minimum to its maximum. An offset or a positive factor of the image has no effect.
    """
    grey = image.mean(axis=2, dtype=np.float32)
    magnitude = np.hypot(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3)
    )
    wide = cv2.dilate(magnitude, np.ones((5, 5), np.uint8)).astype(np.float32)
    low, high = wide.min(), wide.max()
    if not high > low:
        return np.zeros_like(wide)
    return np.asarray((wide - low) / (high - low), np.float32)
