"""Masks that people draw: where on a frame they see a defect."""

import base64

import cv2
import numpy as np

from monitor.errors import ImageError


def encode_mask(data: bytes) -> str:
    """Return an image file as a mask: a PNG of one bit a pixel in base64, white where the image is not black.

    Raises ImageError for a file that is no complete image, and for an image that is black everywhere.
    """
    flags = cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise ImageError("the mask is not an image, or a damaged one")
    marked = np.asarray(image).any(axis=2)
    if not marked.any():
        raise ImageError("the mask is empty: every pixel is black")
    done, png = cv2.imencode(
        ".png", np.where(marked, np.uint8(255), np.uint8(0)), [cv2.IMWRITE_PNG_BILEVEL, 1]
    )
    assert done
    return base64.b64encode(png.tobytes()).decode()
