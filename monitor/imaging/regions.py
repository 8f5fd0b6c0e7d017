"""Convert heat to regions: enlarge it to the frame, apply a threshold, find connected areas."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.imaging.geometry import AxisMapping
from monitor.records import Box, Heatmap, Region, TileHeatmap

_GAP_CELLS = 2
"""Cells below the threshold that may split one defect at the border of two tiles."""


def merge_heatmaps(
    tiles: Iterable[TileHeatmap],
    *,
    width: int,
    height: int,
    input_size: tuple[int, int],
    cell_offset: tuple[float, float],
) -> Heatmap:
    """Merge the heat of all tiles in pixels of the frame: (height, width).

    Heat is linear between cells, the maximum where tiles overlap, and 0 outside of tiles. `input_size` is the
    network's (height, width); `cell_offset` is the input pixel (x, y) of cell (0, 0). A tile without heat, or
    with a NaN or infinity in it, adds nothing.
    """
    merged = np.zeros((height, width), np.float32)
    for tile in tiles:
        if not (np.isfinite(tile.heatmap).all() and tile.heatmap.max() > 0):
            continue
        rows, columns = tile.heatmap.shape
        box = tile.box
        down = AxisMapping(
            box.top, box.bottom, input_size[0], rows, cell_offset[1]
        ).interpolation_weights()  # (h, rows)
        across = AxisMapping(
            box.left, box.right, input_size[1], columns, cell_offset[0]
        ).interpolation_weights()  # (w, columns)
        part = box.of(merged)
        np.maximum(part, down @ tile.heatmap @ across.T, out=part)
    return merged


def find_regions(
    heat: Heatmap,
    *,
    threshold: float,
    minimum_area: float = 1,
    maximum: int = 16,
    tiles: Sequence[TileHeatmap] = (),
) -> tuple[Region, ...]:
    """Find the connected areas of `heat`, (height, width), at or above `threshold` (above 0).

    Areas on both sides of the border of two `tiles` are joined if at most two cells lie between them, because
    heat is weaker where a tile ends. Regions are sorted by the score of their tile, because the heat of each
    tile is scaled to 1, then by peak and area. Areas of less than `minimum_area` pixels are left out, and all
    after the first `maximum`. Heat that is zero everywhere has no region.
    """
    hot = (heat >= threshold).view(np.uint8)
    for one, other in combinations(tiles, 2):
        _bridge(hot, one, other)
    left, top, across, down = cv2.boundingRect(hot)  # most of a large frame has no heat
    if not across:
        return ()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        hot[top : top + down, left : left + across], connectivity=8
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


def _bridge(hot: NDArray[np.uint8], one: TileHeatmap, other: TileHeatmap) -> None:
    """Fill gaps of up to two cells across the border of two tiles, in place."""
    cells = [max(tile.box.width / tile.heatmap.shape[1] for tile in (one, other))]
    cells.append(max(tile.box.height / tile.heatmap.shape[0] for tile in (one, other)))
    left, right = max(one.box.left, other.box.left), min(one.box.right, other.box.right)
    top, bottom = max(one.box.top, other.box.top), min(one.box.bottom, other.box.bottom)
    if left > right or top > bottom or (left == right and top == bottom):
        return  # separate, or touching at one corner only
    is_upright = right - left < bottom - top  # the border, or the strip that both tiles show
    reach = ceil(_GAP_CELLS * cells[0 if is_upright else 1])
    if is_upright:
        strip = hot[top:bottom, max(left - reach, 0) : right + reach]
        kernel = np.ones((1, 2 * (reach // 2) + 1), np.uint8)
    else:
        strip = hot[max(top - reach, 0) : bottom + reach, left:right]
        kernel = np.ones((2 * (reach // 2) + 1, 1), np.uint8)
    closed = cv2.morphologyEx(np.ascontiguousarray(strip), cv2.MORPH_CLOSE, kernel)
    np.maximum(strip, closed, out=strip)


def _overlap(one: Box, other: Box) -> bool:
    return (
        one.left < other.right
        and other.left < one.right
        and one.top < other.bottom
        and other.top < one.bottom
    )


def _region(heat: Heatmap, box: Box, inside: NDArray[np.bool_], area: int) -> Region:
    own = np.where(inside, box.of(heat), 0)
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
