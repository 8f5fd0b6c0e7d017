"""Which part of which frame the network sees in an epoch."""

from collections.abc import Sequence

import numpy as np

from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.tiling import FrameTruth, Tiling, tile
from monitor.records import Box

MAX_REPEATS = 4
"""How often at most a defect is shown in an epoch, each time at another place of the tile."""


ATTEMPTS = 10


class TrainingTiles:
    """Draws tiles of the daemon's size at random places of the frames of `truths`.

    A tile per defect, more where defects are rare, and a tile without a defect per frame. Random places show
    a defect anywhere in the tile, which the daemon's fixed grid does not. Undivided frames are drawn as they
    are.
    """

    def __init__(self, truths: Sequence[FrameTruth], tiling: Tiling, seed: int) -> None:
        self._truths = truths
        self._tiling = tiling
        self._seed = seed
        defective = sum(truth.sample.defective for truth in truths)
        good = len(truths) - defective
        self._repeats = min(max(round(good / (2 * max(defective, 1))), 1), MAX_REPEATS)

    def draw(self, epoch: int) -> list[Sample]:
        """Return the samples of `epoch`; the same seed and epoch give the same."""
        if self._tiling.is_whole_frame:
            return [truth.sample for truth in self._truths]
        drawn: list[Sample] = []
        for index, truth in enumerate(self._truths):
            random = np.random.default_rng((self._seed, epoch, index))
            boxes = self._tiling.boxes(truth.width, truth.height)
            if truth.is_known and truth.sample.defective:
                places = [place_with_defect(truth, boxes, random) for _ in range(self._repeats)]
                drawn += [tile(truth, place) for place in places if place is not None]
            box = _without_defect(truth, boxes, random)
            if box is not None:
                drawn.append(tile(truth, box))
        return drawn


def place_with_defect(truth: FrameTruth, boxes: Sequence[Box], random: np.random.Generator) -> Box | None:
    """Return a tile of the size of `boxes` around one defect, all of it in view where it fits.

    None where the tiles of a region cut all defects off.
    """
    size = boxes[0]
    for _ in range(ATTEMPTS):
        number = int(random.integers(int(truth.pieces.max()) + 1))
        piece = truth.piece_box(number)
        if piece.width > size.width or piece.height > size.height:
            x, y = random.choice(truth.points[truth.pieces == number]).tolist()
            piece = Box(x, y, x + 1, y + 1)
        left = _start(piece.left, piece.right, size.width, random)
        top = _start(piece.top, piece.bottom, size.height, random)
        box = _inside(left, top, boxes)
        if truth.label(box):
            return box
    return next((box for box in boxes if truth.label(box)), None)


def _start(first: int, last: int, size: int, random: np.random.Generator) -> int:
    low, high = sorted((last - size, first))
    return int(random.integers(low, high + 1))


def _without_defect(truth: FrameTruth, boxes: Sequence[Box], random: np.random.Generator) -> Box | None:
    area = Box(boxes[0].left, boxes[0].top, boxes[-1].right, boxes[-1].bottom)
    for _ in range(ATTEMPTS):
        left = int(random.integers(area.left, area.right - boxes[0].width + 1))
        top = int(random.integers(area.top, area.bottom - boxes[0].height + 1))
        box = _inside(left, top, boxes)
        if truth.label(box) is False:
            return box
    return None


def _inside(left: int, top: int, boxes: Sequence[Box]) -> Box:
    """A box of the size of the first of `boxes`, moved into the area that they cover."""
    first, last = boxes[0], boxes[-1]
    left = min(max(left, first.left), last.right - first.width)
    top = min(max(top, first.top), last.bottom - first.height)
    return Box(left, top, left + first.width, top + first.height)
