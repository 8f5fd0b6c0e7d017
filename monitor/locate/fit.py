"""A part of a frame at the network's size: the only place where this is written down."""

import cv2
import numpy as np

from monitor.records import Image


def fit(image: Image, size: tuple[int, int]) -> Image:
    """Resize `image` (h, w, 3) uint8 to `size`, (height, width), as the network was trained to see it.

    Where it shrinks, every pixel is the mean of those it covers (`cv2.INTER_AREA`); where it grows, bilinear.
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
