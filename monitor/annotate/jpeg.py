"""Pictures as JPEG."""

import cv2

from monitor.errors import ImageError
from monitor.records import Image


def encode_jpeg(image: Image, quality: int = 85) -> bytes:
    """The picture as JPEG, `quality` 1..100; ImageError where JPEG cannot hold it (a side above 65,535)."""
    try:
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error as error:
        raise ImageError(f"a picture of shape {image.shape} cannot be made a JPEG") from error
    if not done:
        raise ImageError(f"a picture of shape {image.shape} cannot be made a JPEG")
    return data.tobytes()
