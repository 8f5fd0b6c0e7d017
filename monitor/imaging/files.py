"""Reading one picture from a file."""

from pathlib import Path

import cv2
import numpy as np

from monitor.errors import ImageError
from monitor.imaging.bit_depth import declared_maximum, scale_to_8_bits
from monitor.records import Image

MIN_SIDE = 8
"""Pixels; a smaller picture shows no surface and comes from a mistake."""


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
"""Endings, in lower case, by which a folder's pictures are told from its other files."""


def read_image(path: Path | str, bit_depth: int | None = None) -> Image:
    """The picture in `path`: (height, width, 3) uint8, blue, green, red.

    Grey becomes three equal channels, 16 bits are scaled to 8, transparency is dropped, and a turned
    photograph (Exif) is set upright. Raises ImageError, with the file's name, for anything else than a whole
    picture.

    `bit_depth` (8..16) is how many bits the values of a file of 16 bits use, where the file does not say it.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{path}: cannot be read: {reason}") from error
    if not data:
        raise ImageError(f"{path}: the file is empty (0 bytes)")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ImageError(f"{path}: not a picture that can be read ({error.err})") from error
    if picture is None:
        raise ImageError(f"{path}: not a picture, or a broken one")
    height, width = picture.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{path}: {width}x{height} pixels are too few; {MIN_SIDE}x{MIN_SIDE} at least")
    if picture.dtype == np.uint16:
        try:
            return scale_to_8_bits(np.asarray(picture, np.uint16), declared_maximum(data), bit_depth)
        except ImageError as error:
            raise ImageError(f"{path}: {error}", error.cause) from error
    if picture.dtype != np.uint8:
        raise ImageError(f"{path}: pixels of type {picture.dtype} are not supported; 8 or 16 bits are")
    return np.asarray(picture, np.uint8)
