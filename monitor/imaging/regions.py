"""From heat to coordinates: spread over the frame, cut at a threshold, what hangs together is a region."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.imaging.geometry import AxisMapping
from monitor.records import Box, Heatmap, Region, TileHeatmap


def merge_heatmaps(
    patches: Iterable[TileHeatmap],
    *,
    width: int,
    height: int,
    input_size: tuple[int, int],
    cell_offset: tuple[float, float],
) -> Heatmap:
    """The heat of all patches in the frame's own pixels, (height, width).

    Linear between cells, the highest where patches overlap, 0 where none lies. `input_size` is the network's
    (height, width); `cell_offset` the input pixel (x, y) that cell (0, 0) looks at. A patch without heat, or
    with a NaN or infinity in it, adds nothing.
    """
    spread = np.zeros((height, width), np.float32)
    for patch in patches:
        if not (np.isfinite(patch.heatmap).all() and patch.heatmap.max() > 0):
            continue
        rows, columns = patch.heatmap.shape
        box = patch.box
        down = AxisMapping(
            box.top, box.bottom, input_size[0], rows, cell_offset[1]
        ).interpolation_weights()  # (h, rows)
        across = AxisMapping(
            box.left, box.right, input_size[1], columns, cell_offset[0]
        ).interpolation_weights()  # (w, columns)
        part = spread[box.top : box.bottom, box.left : box.right]
        np.maximum(part, down @ patch.heatmap @ across.T, out=part)
    return spread


def find_regions(
    heat: Heatmap,
    *,
    threshold: float,
    minimum_area: float = 1,
    maximum: int = 16,
    tiles: Sequence[TileHeatmap] = (),
) -> tuple[Region, ...]:
    """Find the connected areas of `heat`, (height, width), at or above `threshold` (above 0).

    The order is that of the scores of the `tiles` they lie in, since the heat of each tile is scaled to 1;
    then of the peak, then of the area. Areas of less than `minimum_area` pixels are left out, and all after
    the first `maximum`. Heat that is zero everywhere has no region.
    """
    warm = (heat >= threshold).view(np.uint8)
    left, top, across, down = cv2.boundingRect(warm)  # most of a large frame is cold
    if not across:
        return ()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        warm[top : top + down, left : left + across], connectivity=8
    )
    regions = []
    for index in range(1, count):
        x, y, wide, high, area = (int(value) for value in stats[index])
        if area < minimum_area:
            continue
        box = Box(left + x, top + y, left + x + wide, top + y + high)
        inside = labels[y : y + high, x : x + wide] == index
        regions.append(_region(heat, box, inside, area))

    def rank(region: Region) -> tuple[float, ...]:
        score = max((tile.score for tile in tiles if _overlap(tile.box, region.box)), default=0.0)
        return -score, -region.peak, -region.area, region.box.top, region.box.left

    return tuple(sorted(regions, key=rank)[:maximum])


def _overlap(one: Box, other: Box) -> bool:
    return (
        one.left < other.right
        and other.left < one.right
        and one.top < other.bottom
        and other.top < one.bottom
    )


def _region(heat: Heatmap, box: Box, inside: NDArray[np.bool_], area: int) -> Region:
    own = np.where(inside, heat[box.top : box.bottom, box.left : box.right], 0)
    peak_y, peak_x = np.unravel_index(int(own.argmax()), own.shape)
    rows, columns = inside.nonzero()
    return Region(
        box=box,
        centroid=(box.left + float(columns.mean()), box.top + float(rows.mean())),
        peak_at=(float(box.left + peak_x), float(box.top + peak_y)),
        peak=min(float(own.max()), 1.0),
        area=area,
        contour=_contour(inside, box),
    )


def _contour(inside: NDArray[np.bool_], box: Box) -> tuple[tuple[int, int], ...]:
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(outlines, key=cv2.contourArea)
    smooth = cv2.approxPolyDP(outline, 0.002 * cv2.arcLength(outline, closed=True), closed=True)
    return tuple((box.left + int(x), box.top + int(y)) for x, y in smooth.reshape(-1, 2))
