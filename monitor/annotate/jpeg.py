"""Pictures as JPEG."""

import cv2
import numpy as np

from monitor.errors import ImageError
from monitor.records import Image

_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
"""What JPEG wants before an XMP packet (XMP specification part 3, 1.1.3); OpenCV leaves it to us."""


def encode_jpeg(image: Image, quality: int = 85, xmp: bytes | None = None) -> bytes:
    """The picture as JPEG, `quality` 1..100, with an XMP packet (up to 65,502 bytes) if there is one.

    ImageError where JPEG cannot hold it (a side above 65,535).
    """
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
    try:
        if xmp is None:
            done, data = cv2.imencode(".jpg", image, parameters)
        else:
            chunk = np.frombuffer(_XMP_SEGMENT + xmp, np.uint8)
            done, data = cv2.imencodeWithMetadata(
                ".jpg", image, [cv2.IMAGE_METADATA_XMP], [chunk], parameters
            )
    except cv2.error as error:
        raise ImageError(f"a picture of shape {image.shape} cannot be made a JPEG") from error
    if not done:
        raise ImageError(f"a picture of shape {image.shape} cannot be made a JPEG")
    return data.tobytes()
