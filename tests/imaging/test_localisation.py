"""Boxes predicted by a box head come out where the defect is in the frame, through resize, roi and tiles."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.imaging.geometry import AxisMapping, tile_boxes
from monitor.imaging.localisation import locate
from monitor.records import Box, TileHeatmap

SIZE = (224, 160)

CELLS = (28, 20)


def shown(tile: Box, defect: Box, offset: tuple[float, float]) -> TileHeatmap:
    """What an exact network shows of `defect` in `tile`: heat around its centre, and its extents there."""
    across = AxisMapping(tile.left, tile.right, SIZE[1], CELLS[1], offset[0])
    down = AxisMapping(tile.top, tile.bottom, SIZE[0], CELLS[0], offset[1])
    x, y = (
        across.cell_to_frame(np.arange(CELLS[1], dtype=float)),
        down.cell_to_frame(np.arange(CELLS[0], dtype=float)),
    )
    centre_x, centre_y = (defect.left + defect.right - 1) / 2, (defect.top + defect.bottom - 1) / 2
    heat = np.exp(
        -(((x - centre_x) / defect.width) ** 2) * 3 - (((y[:, None] - centre_y) / defect.height) ** 2) * 3
    )
    # Edges lie half a pixel beyond the centres of pixels.
    sides = np.stack(
        np.broadcast_arrays(
            x - (defect.left - 0.5),
            y[:, None] - (defect.top - 0.5),
            defect.right - 0.5 - x,
            defect.bottom - 0.5 - y[:, None],
        ),
        axis=-1,
    )
    scale = np.array([SIZE[1] / tile.width, SIZE[0] / tile.height] * 2)
    return TileHeatmap(heat.astype(np.float32), tile, 1.0, 0.9, (sides * scale).astype(np.float32))


def located(tiles, width, height, offset=(0.0, 0.0), minimum_area=0.0):
    return locate(
        tiles,
        width=width,
        height=height,
        input_size=SIZE,
        cell_offset=offset,
        threshold=0.5,
        minimum_area=minimum_area,
    )


@st.composite
def scenes(draw: st.DrawFn):
    width, height = draw(st.integers(200, 450)), draw(st.integers(200, 450))
    left, top = draw(st.integers(0, width // 5)), draw(st.integers(0, height // 5))
    roi = Box(left, top, draw(st.integers(4 * width // 5, width)), draw(st.integers(4 * height // 5, height)))
    grid = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    tiles = tile_boxes(width, height, roi=roi, tiles=grid, overlap=draw(st.floats(0, 0.4)))
    wide, high = draw(st.integers(25, roi.width // 2)), draw(st.integers(25, roi.height // 2))
    x = draw(st.integers(roi.left, roi.right - wide))
    y = draw(st.integers(roi.top, roi.bottom - high))
    offset = draw(st.sampled_from([(3.5, 3.5), (0.0, 0.0), (-2.0, 5.0)]))
    return width, height, tiles, Box(x, y, x + wide, y + high), offset


@given(scenes())
def test_a_box_is_the_defects_through_resize_roi_and_tiles(scene) -> None:
    width, height, tiles, defect, offset = scene
    heats = [shown(tile, defect, offset) for tile in tiles if overlaps(tile, defect)]
    _, regions = located(heats, width, height, offset)
    assert regions
    found = regions[0].box
    for low, high, shift in (("left", "right", offset[0]), ("top", "bottom", offset[1])):
        borders = {getattr(tile, side) for tile in tiles for side in (low, high)}
        size = getattr(defect, high) - getattr(defect, low)
        for side in (low, high):
            error = abs(getattr(found, side) - getattr(defect, side))
            ends_at_border = getattr(found, side) in borders
            assert error <= (sliver(tiles, low, high, shift, size) if ends_at_border else 1)


def sliver(tiles: list[Box], low: str, high: str, shift: float, size: int) -> float:
    """Return how much of a defect a tile may show, in pixels, without a hot cell that predicts it.

    The heat falls below the threshold at 0.48 of the defect's size from its centre; a cell lies at most one
    cell and the offset away from the border.
    """
    side = 1 if low == "left" else 0
    tile = max(getattr(tile, high) - getattr(tile, low) for tile in tiles)
    return 1 + 0.02 * size + tile / CELLS[side] + abs(shift) * tile / SIZE[side]


def overlaps(tile: Box, defect: Box) -> bool:
    """Return whether `tile` shows a part of `defect`."""
    width = min(tile.right, defect.right) - max(tile.left, defect.left)
    height = min(tile.bottom, defect.bottom) - max(tile.top, defect.top)
    return width > 0 and height > 0


def test_a_quarter_turn_of_the_frame_turns_the_box() -> None:
    defect = Box(40, 90, 110, 130)
    upright = shown(Box(0, 0, 224, 224), defect, (3.5, 3.5))
    heat, extents = np.rot90(upright.heatmap), np.rot90(upright.extents)
    # Turned to the left, what was right is on top, what was up is on the left.
    turned = replace(
        upright,
        heatmap=np.ascontiguousarray(heat),
        extents=np.ascontiguousarray(extents[..., [1, 2, 3, 0]]),
    )
    _, (region,) = locate(
        [turned],
        width=224,
        height=224,
        input_size=SIZE[::-1],
        cell_offset=(3.5, 3.5),
        threshold=0.5,
        minimum_area=0.0,
    )
    expected = Box(defect.top, 224 - defect.right, defect.bottom, 224 - defect.left)
    for side in ("left", "top", "right", "bottom"):
        assert abs(getattr(region.box, side) - getattr(expected, side)) <= 1


def test_a_box_contains_the_peak_and_stays_in_its_tile() -> None:
    tile = shown(Box(50, 50, 150, 150), Box(80, 80, 120, 120), (0.0, 0.0))
    _, (small,) = located([replace(tile, extents=np.full((*CELLS, 4), 0.01, np.float32))], 200, 200)
    x, y = small.peak_at
    assert small.box.left <= x < small.box.right
    assert small.box.top <= y < small.box.bottom
    _, (large,) = located([replace(tile, extents=np.full((*CELLS, 4), 1000.0, np.float32))], 200, 200)
    assert large.box == Box(50, 50, 150, 150)


@pytest.mark.parametrize("extents", [None, np.full((*CELLS, 4), np.nan, np.float32)])
def test_without_usable_extents_the_box_is_that_of_the_heat(extents) -> None:
    tile = replace(shown(Box(0, 0, 200, 200), Box(80, 80, 120, 120), (0.0, 0.0)), extents=extents)
    _, (region,) = located([tile], 200, 200)
    ys, xs = (
        np.array([point[1] for point in region.contour]),
        np.array([point[0] for point in region.contour]),
    )
    assert region.box == Box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_the_smallest_region_is_a_fraction_of_one_tile_however_many_are_flagged() -> None:
    tiles = [shown(box, Box(10, 10, 40, 40), (0.0, 0.0)) for box in tile_boxes(400, 400, tiles=(2, 2))]
    heat, regions = located(tiles, 400, 400)
    share = regions[0].area / (200 * 200)
    assert located(tiles, 400, 400, minimum_area=0.9 * share)[1]
    assert not located(tiles[:1], 400, 400, minimum_area=1.1 * share)[1]
    assert heat.shape == (400, 400)
