"""How large defects are in the network's input, and how many tiles show them large enough."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitor.learning.datasets.tiling import FrameTruth, Tiling
from monitor.learning.train.architecture import CAM_STRIDE

MIN_CELLS = 4.0
"""A defect whose label covers fewer cells of the explained layer is easily averaged away."""


MIN_SCALE = 0.7
"""Pixels of the input per pixel of the frame that are enough: smaller tiles would show little more detail."""


MAX_VANISHING = 0.1
"""Fraction of defects that may be small before it is worth a warning."""


MAX_OVERLAP = 0.4


MAX_PARTS = 16
"""Rows, and columns, of tiles at most: 256 tiles are the most that a camera may have."""


MAX_BLIND_TILES = 12
"""Tiles of a frame at most where no mask tells how large defects are: each costs a forward pass."""


BLIND_OVERLAP = 0.2


@dataclass(frozen=True, slots=True)
class DefectSizes:
    """How large `defects` with a known place appear in the network's input.

    `small`: how many cover fewer than `MIN_CELLS` cells. `median_cells`: the median. `scale`: pixels of the
    input per pixel of the frame, the smaller of both axes, median over all frames.
    """

    defects: int
    small: int
    median_cells: float
    scale: float

    @property
    def is_vanishing(self) -> bool:
        """Whether too many defects are small because the input shrinks the frame."""
        return self.small > MAX_VANISHING * self.defects and self.is_shrunk

    @property
    def is_shrunk(self) -> bool:
        """Whether the input shows frames so much smaller that tiles would show more."""
        return self.scale < MIN_SCALE

    def __str__(self) -> str:
        return (
            f"{self.small} of {self.defects} defects cover fewer than {MIN_CELLS:g} cells of the network's "
            f"last layer (median {self.median_cells:.1f}) at {self.scale:.2f} pixels of input per pixel"
        )


def measure_defects(truths: Sequence[FrameTruth], tiling: Tiling, size: tuple[int, int]) -> DefectSizes:
    """Measure the largest piece of each known defect in the network's input of `size` (height, width)."""
    cells, scales = [], []
    for truth in truths:
        box = tiling.boxes(truth.width, truth.height)[0]
        across, down = size[1] / box.width, size[0] / box.height
        scales.append(min(across, down))
        if truth.points.size:
            area = int(np.bincount(truth.pieces).max())
            cells.append(area * across * down / CAM_STRIDE**2)
    measured = np.array(cells)
    return DefectSizes(
        defects=measured.size,
        small=int((measured < MIN_CELLS).sum()),
        median_cells=float(np.median(measured)) if measured.size else 0.0,
        scale=float(np.median(scales)) if scales else 1.0,
    )


def propose_tiles(truths: Sequence[FrameTruth], size: tuple[int, int], tiling: Tiling) -> Tiling:
    """Return the fewest tiles of `tiling`'s region that do not shrink the defects away.

    The frame stays undivided where its defects are large enough. Tiles overlap by the length of three
    quarters of the defects that fit into a tile, so that most of them lie in one as a whole.
    """
    proposed = replace(tiling, tiles=(1, 1), overlap=0.0)
    if not measure_defects(truths, proposed, size).is_vanishing:
        return proposed
    areas = [proposed.boxes(truth.width, truth.height)[0] for truth in truths]
    width = float(np.median([area.width for area in areas]))
    height = float(np.median([area.height for area in areas]))
    lengths = [
        max(box.width, box.height)
        for truth in truths
        for box in (truth.piece_box(piece) for piece in range(int(truth.pieces.max(initial=-1)) + 1))
    ]
    fitting = [length for length in lengths if length <= min(size) / MIN_SCALE]
    length = float(np.quantile(fitting or [0], 0.75))
    rows, columns = (_parts(extent, side, length) for extent, side in ((height, size[0]), (width, size[1])))
    side = min(extent / count for extent, count in ((height, rows), (width, columns)))
    overlap = round(min(length / (side + length), MAX_OVERLAP), 2)
    return replace(proposed, tiles=(rows, columns), overlap=overlap if max(rows, columns) > 1 else 0.0)


def tiles_for_scale(truths: Sequence[FrameTruth], size: tuple[int, int], tiling: Tiling) -> Tiling:
    """Return tiles of `tiling`'s region where no mask tells how large defects are.

    As many as show the frame at `MIN_SCALE`, nearly square, but at most `MAX_BLIND_TILES`.
    """
    boxes = [replace(tiling, tiles=(1, 1)).boxes(truth.width, truth.height)[0] for truth in truths]
    height, width = (float(np.median([getattr(box, side) for box in boxes])) for side in ("height", "width"))
    scale = MIN_SCALE
    while True:
        rows, columns = (
            max(1, round(extent * scale / side)) for extent, side in ((height, size[0]), (width, size[1]))
        )
        if rows * columns <= MAX_BLIND_TILES:
            overlap = BLIND_OVERLAP if rows * columns > 1 else 0.0
            return replace(tiling, tiles=(rows, columns), overlap=overlap)
        scale *= 0.9


def _parts(extent: float, side: int, length: float) -> int:
    """The fewest tiles, overlapping by `length` pixels, that show `extent` pixels at `MIN_SCALE` or more."""
    for count in range(1, MAX_PARTS):
        shown = (extent + (count - 1) * min(length, MAX_OVERLAP * extent / count)) / count
        if side / shown >= MIN_SCALE:
            return count
    return MAX_PARTS
