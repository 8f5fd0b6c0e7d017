"""Frames cut into the tiles that the daemon shows to the network, each with a label of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.imaging.geometry import tile_boxes
from monitor.learning.datasets.fingerprint import image_hash
from monitor.learning.datasets.near_duplicates import Thumbnail, thumbnail
from monitor.learning.datasets.sample import Sample, load_image, load_mask
from monitor.records import Box

SHOWN_FRACTION = 0.5
"""Fraction of a defect that a tile must show to count as defective; below it the label is cut off.

Of a defect that is longer than the tile, it is the fraction of the part that fits."""


LARGE_DEFECT = 0.25
"""Fraction of a tile's area from which a defect is large: half of this much is enough to see it."""


class CutFrames(Protocol):
    """Names how frames are cut: a camera's settings, or the card's account of the training."""

    @property
    def roi(self) -> tuple[int, int, int, int] | None:
        """Region of interest: x, y, width, height in pixels."""

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def overlap(self) -> float:
        """Fraction of its side that a tile shares with the next, 0..0.5."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a camera's frame is cut: `roi` (x, y, width, height), `tiles` (rows, columns), `overlap` 0..0.5.

    The same three values as in a `[[camera]]` table, cut by the same code.
    """

    roi: tuple[int, int, int, int] | None = None
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.0

    @classmethod
    def of(cls, source: CutFrames) -> Self:
        """Return how the frames of a camera, or of a training, are cut."""
        return cls(source.roi, source.tiles, source.overlap)

    @property
    def is_whole_frame(self) -> bool:
        """Whether the network sees the frame undivided."""
        return self.roi is None and self.tiles == (1, 1)

    def boxes(self, width: int, height: int) -> tuple[Box, ...]:
        """Return the tiles of a frame; raises `UsageError` where the region does not lie in the frame."""
        roi = None
        if self.roi is not None:
            left, top, wide, high = self.roi
            roi = Box(left, top, left + wide, top + high)
        return tile_boxes(width, height, roi=roi, tiles=self.tiles, overlap=self.overlap)

    def __str__(self) -> str:
        rows, columns = self.tiles
        roi = "" if self.roi is None else f", roi {','.join(map(str, self.roi))}"
        return f"{rows}x{columns} tiles, overlap {self.overlap:g}{roi}"


@dataclass(frozen=True, slots=True, eq=False)
class FrameTruth:
    """Where the defects of one frame lie.

    `points` (n, 2): x and y of the pixels that the label calls defective. `pieces` (n,): the connected piece
    that each belongs to, from 0. `is_known` is False for a defective frame without a mask. `content`: the
    hash of the frame's pixels; `thumbnail` (1024,) float32: what near-duplicates are found by.
    """

    sample: Sample
    width: int
    height: int
    points: NDArray[np.int32]
    pieces: NDArray[np.int32]
    is_known: bool
    content: str
    thumbnail: Thumbnail

    def label(self, box: Box) -> bool | None:
        """Return whether `box` shows a defect; None where a border cuts the defect off, or nobody knows."""
        if not self.is_known:
            return None
        inside = self._inside(box)
        if not inside.any():
            return False
        sizes = np.bincount(self.pieces)
        shown = np.bincount(self.pieces[inside], minlength=sizes.size)
        # No tile shows half of a crack that crosses several.
        pieces = map(self.piece_box, range(sizes.size))
        lengths = np.array([max(piece.width, piece.height) for piece in pieces])
        fitting = sizes * np.minimum(min(box.width, box.height) / lengths, 1)
        enough = SHOWN_FRACTION * np.minimum(fitting, LARGE_DEFECT * box.area)
        return True if (shown >= np.maximum(enough, 1)).any() else None

    def piece_box(self, piece: int) -> Box:
        """Return the smallest box around one piece."""
        points = self.points[self.pieces == piece]
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return Box(int(left), int(top), int(right) + 1, int(bottom) + 1)

    def _inside(self, box: Box) -> NDArray[np.bool_]:
        x, y = self.points[:, 0], self.points[:, 1]
        return np.asarray((x >= box.left) & (x < box.right) & (y >= box.top) & (y < box.bottom))


def read_truth(sample: Sample) -> FrameTruth:
    """Read the frame and the mask of `sample`; raises `DataError` where one cannot be read."""
    image = load_image(sample)
    height, width = image.shape[:2]
    mask = load_mask(sample, height, width)
    is_known = mask is not None and (bool(mask.any()) or not sample.defective)
    points, pieces = np.empty((0, 2), np.int32), np.empty(0, np.int32)
    if mask is not None and mask.any():
        _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        y, x = np.nonzero(labels)
        points = np.stack([x, y], axis=1).astype(np.int32)
        pieces = np.asarray(labels[y, x] - 1, np.int32)
    return FrameTruth(sample, width, height, points, pieces, is_known, image_hash(image), thumbnail(image))


def tile(truth: FrameTruth, box: Box) -> Sample:
    """Return one tile of a frame as a sample; where its label is not certain it has the frame's."""
    label = truth.label(box)
    defective = truth.sample.defective if label is None else label
    return replace(truth.sample, box=box, defective=defective)


def tiles_of(truths: Sequence[FrameTruth], tiling: Tiling) -> list[list[Sample]]:
    """Return all tiles of each frame, in the daemon's order; an undivided frame is the sample itself."""
    if tiling.is_whole_frame:
        return [[truth.sample] for truth in truths]
    return [[tile(truth, box) for box in tiling.boxes(truth.width, truth.height)] for truth in truths]
