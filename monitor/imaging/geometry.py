"""Convert coordinates between the frame, the network's input, and the cells of a heat map.

Three grids cover a tile, which is one part of the frame. (1) The pixels of the frame. (2) The network's
input, to which the tile is resized with pixel *edges* aligned (OpenCV's convention: the left edge of the box
is the left edge of the input). (3) The cells of the heat map, each centred on one point of the input. Pixel
centres are whole numbers in all grids.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.records import Box, Image

Coordinates = TypeVar("Coordinates", float, NDArray[np.float64])
"""One coordinate on an axis, or many."""


def tile_boxes(
    width: int,
    height: int,
    *,
    roi: Box | None = None,
    tiles: tuple[int, int] = (1, 1),
    overlap: float = 0.0,
) -> tuple[Box, ...]:
    """Divide a `width` x `height` frame into tiles, one per network input, row by row.

    `tiles` is (rows, columns) over the region of interest `roi` (default: the whole frame); `overlap`,
    0..0.5, is the fraction of a tile that it shares with the next. The tiles cover the region exactly: the
    first begins and the last ends at its border. Without overlap each pixel is in one tile. Tile sizes differ
    by one pixel at most.

    Raises UsageError where the region does not lie in the frame or has fewer pixels than tiles.
    """
    area = roi or Box(0, 0, width, height)
    inside = 0 <= area.left < area.right <= width and 0 <= area.top < area.bottom <= height
    if not inside:
        raise UsageError(
            f"the region of interest, {area.width}x{area.height} at ({area.left}, {area.top}), "
            f"does not lie within the camera's {width}x{height} frame"
        )
    rows, columns = tiles
    if not (1 <= rows <= area.height and 1 <= columns <= area.width):
        raise UsageError(f"{rows}x{columns} tiles do not fit {area.width}x{area.height} pixels")
    if not 0 <= overlap <= 0.5:
        raise UsageError(f"tiles can overlap by 0 to 0.5 of their size, not by {overlap:g}")
    return tuple(
        Box(left, top, right, bottom)
        for top, bottom in _split(area.top, area.bottom, rows, overlap)
        for left, right in _split(area.left, area.right, columns, overlap)
    )


def tiles_to_explain(scores: NDArray[np.floating], threshold: float) -> list[int]:
    """Return the indices of the tiles whose `scores` (t,) reach `threshold`, highest first; one at least."""
    ranked = [int(index) for index in np.argsort(-scores, kind="stable")]
    return [index for index in ranked if scores[index] >= threshold] or ranked[:1]


def _split(start: int, stop: int, parts: int, overlap: float) -> list[tuple[int, int]]:
    # Fractions, so that the end of one tile and the start of the next are rounded equally.
    common = Fraction(overlap)
    size = (stop - start) / (parts - (parts - 1) * common)
    step = size * (1 - common)
    # Halves are always rounded up: round() would round them both ways, and sizes would differ by two pixels.
    half = Fraction(1, 2)
    return [(start + floor(i * step + half), start + floor(i * step + size + half)) for i in range(parts)]


@dataclass(frozen=True, slots=True)
class AxisMapping:
    """One axis of a tile, in all three grids.

    `start`..`stop` (not included) are the frame's pixels, `size` the network input's pixels, `cells` the
    heat's cells, and `offset` is the input pixel of cell 0. Resizing the heat as if it were an
    image would put it at (size / cells - 1) / 2. Padding and strides of ResNet50 put it at 0, but its
    trained filters are shifted right and down: labelled defects of DAGM's Class1 match plain resizing.
    """

    start: int
    stop: int
    size: int
    cells: int
    offset: float

    def frame_to_input(self, pixel: Coordinates) -> Coordinates:
        """Return the coordinate in the network's input that shows the frame's `pixel`."""
        return (pixel - self.start + 0.5) * self.size / (self.stop - self.start) - 0.5

    def input_to_frame(self, position: Coordinates) -> Coordinates:
        """Return the frame's pixel that `position` of the input shows: the inverse of `frame_to_input`."""
        return (position + 0.5) * (self.stop - self.start) / self.size - 0.5 + self.start

    def frame_to_cell(self, pixel: Coordinates) -> Coordinates:
        """Return the cell, or a fraction between two, that lies at the frame's `pixel`."""
        return (self.frame_to_input(pixel) - self.offset) * self.cells / self.size

    def cell_to_frame(self, cell: Coordinates) -> Coordinates:
        """Return the frame's pixel at which `cell` lies: the inverse of `frame_to_cell`."""
        return self.input_to_frame(cell * self.size / self.cells + self.offset)

    def interpolation_weights(self) -> NDArray[np.float32]:
        """Weight each cell in each pixel, (stop - start, cells): linear between cells, constant beyond."""
        pixels = np.arange(self.start, self.stop, dtype=np.float64)
        at = np.clip(self.frame_to_cell(pixels), 0, self.cells - 1)
        near: NDArray[np.float64] = 1 - np.abs(at[:, None] - np.arange(self.cells))
        return np.maximum(near, 0).astype(np.float32)


def resize_to_input(image: Image, size: tuple[int, int]) -> Image:
    """Resize `image` (h, w, 3) uint8 to `size`, (height, width), as in training.

    Shrinking averages the covered pixels (`cv2.INTER_AREA`); enlarging is bilinear.
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
