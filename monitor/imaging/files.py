"""Read an image from a file."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import ImageError, UnusableError
from monitor.imaging.bit_depth import declared_maximum, scale_to_8_bits
from monitor.records import Image

MIN_SIDE = 8
"""Minimum width and height in pixels; a smaller image shows no surface."""


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
"""Suffixes, in lower case, that identify the images in a folder."""


def read_image(path: Path | str, *, page: int = 0, bit_depth: int | None = None) -> Image:
    """Read the image in `path`, or one page of it: (height, width, 3) uint8, blue, green, red.

    Grey becomes three equal channels, 16 bits are scaled to 8, transparency is dropped, and the Exif
    orientation is applied. `bit_depth` (8..16) is the number of bits that a 16-bit file uses, if the file
    does not declare it. Raises ImageError, with the file's name, unless the file holds a complete image, and
    UnusableError where `bit_depth` is required.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{path}: cannot be read: {reason}") from error
    return decode_image(data, path, page=page, bit_depth=bit_depth)


def decode_image(data: bytes, path: Path | str, *, page: int = 0, bit_depth: int | None = None) -> Image:
    """Decode the content `data` of the file `path` as `read_image` does."""
    if not data:
        raise ImageError(f"{path}: the file is empty (0 bytes)")
    try:
        image = _decode(data, page)
    except cv2.error as error:
        raise ImageError(f"{path}: not a readable image ({error.err})") from error
    if image is None:
        raise ImageError(f"{path}: not an image, or a damaged one")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"{path}: {width}x{height} pixels are too few; at least {MIN_SIDE}x{MIN_SIDE} are required"
        )
    if image.dtype == np.uint16:
        try:
            return scale_to_8_bits(np.asarray(image, np.uint16), declared_maximum(data), bit_depth)
        except UnusableError as error:
            raise UnusableError(f"{path}: {error}") from error
    if image.dtype != np.uint8:
        raise ImageError(f"{path}: pixels of type {image.dtype} are not supported; 8 or 16 bits are")
    return np.asarray(image, np.uint8)


def _decode(data: bytes, page: int) -> NDArray[Any] | None:
    flags = cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH
    if page == 0:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    _, found = cv2.imdecodemulti(np.frombuffer(data, np.uint8), flags, range=(page, page + 1))
    return found[0] if found else None
