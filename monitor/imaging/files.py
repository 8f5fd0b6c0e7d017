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
"""Pixels; a smaller picture shows no surface and comes from a mistake."""


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
"""Suffixes, in lower case, by which the images of a folder are recognised."""


def read_image(path: Path | str, *, page: int = 0, bit_depth: int | None = None) -> Image:
    """Read the image in `path`, or one page of it: (height, width, 3) uint8, blue, green, red.

    Grey becomes three equal channels, 16 bits are scaled to 8, transparency is dropped, and a turned
    photograph (Exif) is set upright. `bit_depth` (8..16) is how many bits a file of 16 bits
    uses, where the file does not say it. Raises ImageError, with the file's name, for anything else than a
    whole image, and UnusableError where `bit_depth` must be given.
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
        picture = _decode(data, page)
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
        except UnusableError as error:
            raise UnusableError(f"{path}: {error}") from error
    if picture.dtype != np.uint8:
        raise ImageError(f"{path}: pixels of type {picture.dtype} are not supported; 8 or 16 bits are")
    return np.asarray(picture, np.uint8)


def _decode(data: bytes, page: int) -> NDArray[Any] | None:
    flags = cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH
    if page == 0:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    _, found = cv2.imdecodemulti(np.frombuffer(data, np.uint8), flags, range=(page, page + 1))
    return found[0] if found else None
