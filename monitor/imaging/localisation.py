"""Locate the defects of a frame: merge the heat of its tiles, find regions, and fit a box to each."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor

import numpy as np

from monitor.imaging.geometry import AxisMapping
from monitor.imaging.regions import find_regions, merge_heatmaps
from monitor.records import Box, Heatmap, Region, TileHeatmap


def locate(
    tiles: Sequence[TileHeatmap],
    *,
    width: int,
    height: int,
    input_size: tuple[int, int],
    cell_offset: tuple[float, float],
    threshold: float,
    minimum_area: float,
) -> tuple[Heatmap, tuple[Region, ...]]:
    """Return the heat of a `width` x `height` frame, and its regions, highest ranked first.

    `tiles`, `input_size`, `cell_offset`: as for `merge_heatmaps`. `threshold` is a fraction of the heat's
    peak, `minimum_area` a fraction of a tile's area. Where tiles have `extents`, these decide the boxes.
    """
    heat = merge_heatmaps(tiles, width=width, height=height, input_size=input_size, cell_offset=cell_offset)
    smallest = minimum_area * max((tile.box.area for tile in tiles), default=0)
    regions = find_regions(heat, threshold=threshold, minimum_area=smallest, tiles=tiles)
    fitted = [
        replace(region, box=_fitted_box(region, tiles, threshold, input_size, cell_offset) or region.box)
        for region in regions
    ]
    return heat, tuple(fitted)


def _fitted_box(
    region: Region,
    tiles: Sequence[TileHeatmap],
    threshold: float,
    input_size: tuple[int, int],
    cell_offset: tuple[float, float],
) -> Box | None:
    """Return the box around the predictions of all tiles that show `region`; None where none predicts."""
    boxes = [
        box
        for tile in tiles
        if (box := _predicted_box(region, tile, threshold, input_size, cell_offset)) is not None
    ]
    if not boxes:
        return None
    x, y = region.peak_at
    return Box(
        min(int(x), *(box.left for box in boxes)),
        min(int(y), *(box.top for box in boxes)),
        max(ceil(x) + 1, *(box.right for box in boxes)),
        max(ceil(y) + 1, *(box.bottom for box in boxes)),
    )


def _predicted_box(
    region: Region,
    tile: TileHeatmap,
    threshold: float,
    input_size: tuple[int, int],
    cell_offset: tuple[float, float],
) -> Box | None:
    """Return the box that the cells of `tile` within `region` predict, each with the weight of its heat.

    It ends at the tile's border. None where the tile shows no such cell, or predicts nothing.
    """
    rows, columns = tile.heatmap.shape
    box, extents = tile.box, tile.extents
    if extents is None:
        return None
    across = AxisMapping(box.left, box.right, input_size[1], columns, cell_offset[0])
    down = AxisMapping(box.top, box.bottom, input_size[0], rows, cell_offset[1])
    x, y = (
        across.cell_to_frame(np.arange(columns, dtype=float)),
        down.cell_to_frame(np.arange(rows, dtype=float)),
    )
    inside_x = (x > region.box.left - 1) & (x < region.box.right)
    inside_y = (y > region.box.top - 1) & (y < region.box.bottom)
    weights = np.where(inside_y[:, None] & inside_x & (tile.heatmap >= threshold), tile.heatmap, 0)
    if not weights.any() or not np.isfinite(extents[weights > 0]).all():
        return None
    scale_x, scale_y = box.width / input_size[1], box.height / input_size[0]
    # Pixel centres are whole numbers, edges half a pixel beyond.
    left = np.average(x - extents[..., 0] * scale_x, weights=weights) + 0.5
    top = np.average(y[:, None] - extents[..., 1] * scale_y, weights=weights) + 0.5
    right = np.average(x + extents[..., 2] * scale_x, weights=weights) + 0.5
    bottom = np.average(y[:, None] + extents[..., 3] * scale_y, weights=weights) + 0.5
    return Box(
        max(floor(left + 0.5), box.left),
        max(floor(top + 0.5), box.top),
        min(floor(right + 0.5), box.right),
        min(floor(bottom + 0.5), box.bottom),
    )
