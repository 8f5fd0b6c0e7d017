"""One labelled image: where it is, what is on it, and where the defect lies."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError, ImageError, UnusableError
from monitor.imaging.ellipse import Ellipse
from monitor.imaging.files import read_image
from monitor.records import Box, Image

Split = Literal["Train", "Test"]

_MOST_CLASSES = 32
"""Most values of a map of classes; one with soft edges has more."""

_LOSSY = frozenset({".jpg", ".jpeg", ".webp"})

_HEADER_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Sample:
    """An image on disk with its label.

    `surface` is the class of surface, such as `Class1`; `category` is `good`, `defect`, or the name of a
    folder. `split` is None where the data are undivided. `mask` marks the defect, where known. `box`
    is the part of the image that the network sees; None for all of it. `bit_depth` (8..16) is the number of
    bits that a 16-bit file uses, where the file does not declare it. `group`: samples of one group stay
    on one side of every split, where the data name groups.
    """

    path: Path
    surface: str
    category: str
    defective: bool
    split: Split | None = None
    mask: Path | Ellipse | None = None
    box: Box | None = None
    bit_depth: int | None = None
    group: str | None = None


def load_image(sample: Sample) -> Image:
    """Read the image, or the part of it that `box` names: (h, w, 3) uint8, blue, green, red.

    Raises `DataError` where it cannot be read.
    """
    try:
        if sample.box is None:
            return read_image(sample.path, bit_depth=sample.bit_depth)
        image = _read_image_cached(sample.path, sample.bit_depth)
        return np.ascontiguousarray(sample.box.of(image))
    except UnusableError as error:
        raise DataError(f"{error} (here the option --bit-depth)") from error
    except ImageError as error:
        raise DataError(str(error)) from error


def load_mask(sample: Sample, height: int, width: int) -> NDArray[np.bool_] | None:
    """Return which pixels the label marks as defective: (height, width) bool.

    All False for a good image. None where the place is not known: a defect without a mask, or with one that
    marks nothing. Raises `DataError` for a mask that cannot be read or has another size than its image.
    """
    if not sample.defective:
        return np.zeros((height, width), bool)
    if sample.mask is None:
        return None
    box = sample.box or Box(0, 0, width, height)
    if isinstance(sample.mask, Ellipse):
        mask = sample.mask.mask(box.bottom, box.right)
    else:
        mask = read_mask(sample.mask) if sample.box is None else _read_mask_cached(sample.mask)
        if sample.box is None and mask.shape != (height, width):
            raise DataError(
                f"mask {sample.mask} has {mask.shape[1]}x{mask.shape[0]} pixels, its image {sample.path} "
                f"{width}x{height}"
            )
    part = np.ascontiguousarray(box.of(mask))
    return part if part.any() else None


@lru_cache(maxsize=16)
def _read_image_cached(path: Path, bit_depth: int | None) -> Image:
    """Read an image of which several tiles are used one after another."""
    return read_image(path, bit_depth=bit_depth)


@lru_cache(maxsize=16)
def _read_mask_cached(path: Path) -> NDArray[np.bool_]:
    return read_mask(path)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask: (h, w) bool, True where it marks a defect. Raises `DataError`.

    A map of few values (0 and 1, 0 and 255, indices or colours of classes) marks every pixel that differs
    from black, or from the first colour of its palette. A map of many values, such as a JPEG or one with soft
    edges, marks the upper half of its range. A mask without colour marks what is not transparent.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
        every = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except (OSError, cv2.error) as error:
        reason = error.strerror if isinstance(error, OSError) else "not an image"
        raise DataError(f"the mask {path} cannot be used: {reason}") from error
    if pixels is None or every is None:
        raise DataError(f"the mask {path} cannot be used: not an image, or a damaged one")
    background = np.asarray(_palette_start(bytes(data[:_HEADER_BYTES])), np.int64)
    away = np.abs(pixels.reshape(*pixels.shape[:2], -1).astype(np.int64) - background).max(axis=2)
    has_alpha = every.ndim == 3 and every.shape[2] == 4
    if has_alpha and len(np.unique(away)) == 1 and len(np.unique(every[..., 3])) > 1:
        return np.asarray(every[..., 3] > every[..., 3].max() // 2)
    if path.suffix.lower() in _LOSSY:
        return np.asarray(away > 127)
    is_map = len(np.unique(away)) <= _MOST_CLASSES
    return np.asarray(away > (0 if is_map else away.max() // 2))


def _palette_start(data: bytes) -> tuple[int, int, int]:
    """Return the first colour (blue, green, red) of a PNG's palette; black for any other image."""
    place = data.find(b"PLTE")
    if not data.startswith(b"\x89PNG") or data[25:26] != b"\x03" or place < 0:
        return 0, 0, 0
    red, green, blue = data[place + 4 : place + 7]
    return blue, green, red
