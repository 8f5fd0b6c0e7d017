"""One labelled picture: where it is, what is on it, and where the defect lies."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError, ImageError
from monitor.imaging.ellipse import Ellipse
from monitor.imaging.files import read_image
from monitor.records import Box, Image

Split = Literal["Train", "Test"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture on disk with its label.

    `surface` is the class of surface, such as `Class1`; `kind` is `good`, `defect`, or the name of a folder.
    `split` is None where the data come undivided. `mask` says where the defect is, where known.
    `box` is the part of the picture that the network sees; None for all of it.
    """

    path: Path
    surface: str
    category: str
    defective: bool
    split: Split | None = None
    mask: Path | Ellipse | None = None
    box: Box | None = None


def load_image(sample: Sample) -> Image:
    """Read the image, or the part of it that `box` names: (h, w, 3) uint8 in the order blue, green, red.

    Raises `DataError` where it cannot be read.
    """
    try:
        if sample.box is None:
            return read_image(sample.path)
        return np.ascontiguousarray(_crop(_read_cached(sample.path), sample.box))
    except ImageError as error:
        raise DataError(str(error)) from error


def load_mask(sample: Sample, height: int, width: int) -> NDArray[np.bool_] | None:
    """Return which pixels the label calls defective: (height, width) bool; None where it does not tell.

    All False for a good image. `height` and `width` are those of `load_image`. Raises `DataError` for a mask
    that cannot be read or that is of another size.
    """
    if not sample.defective:
        return np.zeros((height, width), bool)
    if sample.mask is None:
        return None
    box = sample.box or Box(0, 0, width, height)
    if isinstance(sample.mask, Ellipse):
        return np.ascontiguousarray(_crop(sample.mask.mask(box.bottom, box.right), box))
    try:
        image = read_image(sample.mask) if sample.box is None else _read_cached(sample.mask)
    except ImageError as error:
        raise DataError(f"the mask of {sample.path} cannot be used: {error}") from error
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if sample.box is None and grey.shape != (height, width):
        raise DataError(
            f"mask {sample.mask} is {grey.shape[1]}x{grey.shape[0]} pixels, its picture {sample.path} "
            f"{width}x{height}"
        )
    return np.ascontiguousarray(_crop(grey, box) > 127)


@lru_cache(maxsize=16)
def _read_cached(path: Path) -> Image:
    """Read an image of which several tiles are used one after another."""
    return read_image(path)


def _crop(pixels: NDArray[Any], box: Box) -> NDArray[Any]:
    return pixels[box.top : box.bottom, box.left : box.right]
