"""One labelled picture: where it is, what is on it, and where the defect lies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError, ImageError
from monitor.imaging.ellipse import Ellipse
from monitor.imaging.files import read_image
from monitor.records import Image

Split = Literal["Train", "Test"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture on disk with its label.

    `surface` is the class of surface, such as `Class1`; `kind` is `good`, `defect`, or the name of a folder.
    `split` is None where the data come undivided. `mask` says where the defect is, where known.
    """

    path: Path
    surface: str
    category: str
    defective: bool
    split: Split | None = None
    mask: Path | Ellipse | None = None


def load_image(sample: Sample) -> Image:
    """Read the picture: (h, w, 3) uint8, blue, green, red. Raises `DataError` where it cannot be read."""
    try:
        return read_image(sample.path)
    except ImageError as error:
        raise DataError(str(error)) from error


def load_mask(sample: Sample, height: int, width: int) -> NDArray[np.bool_] | None:
    """Which pixels the label calls defective: (height, width) bool; None where the label does not say.

    All False for a good picture. Raises `DataError` for a mask that cannot be read or is of another size.
    """
    if not sample.defective:
        return np.zeros((height, width), bool)
    if sample.mask is None:
        return None
    if isinstance(sample.mask, Ellipse):
        return sample.mask.mask(height, width)
    try:
        grey = cv2.cvtColor(read_image(sample.mask), cv2.COLOR_BGR2GRAY)
    except ImageError as error:
        raise DataError(f"the mask of {sample.path} cannot be used: {error}") from error
    if grey.shape != (height, width):
        raise DataError(
            f"mask {sample.mask} is {grey.shape[1]}x{grey.shape[0]} pixels, its picture {sample.path} "
            f"{width}x{height}"
        )
    return np.asarray(grey > 127)
