"""A place that is warm in the network's eyes comes out where it is in the frame."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from monitor.imaging.geometry import AxisMapping, tile_boxes
from monitor.imaging.regions import find_regions, merge_heatmaps
from monitor.records import Box, TileHeatmap

SIZE = (224, 224)


CELLS = 28


PLAIN = (3.5, 3.5)  # the offset at which cells lie as in a resized picture


LOOKS_AT_FIRST = (0.0, 0.0)


def seen(view: Box, x: float, y: float, spread: float, offset: tuple[float, float]) -> TileHeatmap:
    """What a network that looks at `offset` shows of a round spot at (x, y) of the frame."""
    across = AxisMapping(view.left, view.right, SIZE[1], CELLS, offset[0])
    down = AxisMapping(view.top, view.bottom, SIZE[0], CELLS, offset[1])
    xs = np.array([across.cell_to_frame(float(cell)) for cell in range(CELLS)])
    ys = np.array([down.cell_to_frame(float(cell)) for cell in range(CELLS)])
    heat = np.exp(-((xs - x) ** 2 + (ys[:, None] - y) ** 2) / (2 * spread**2)).astype(np.float32)
    return TileHeatmap(heat, view, 1.0)


def spread_out(patches, width, height, offset=LOOKS_AT_FIRST):
    return merge_heatmaps(patches, width=width, height=height, input_size=SIZE, cell_offset=offset)


def patch_of(heat: np.ndarray, width: int, height: int) -> TileHeatmap:
    return TileHeatmap(heat.astype(np.float32), Box(0, 0, width, height), 1.0)


@st.composite
def scenes(draw: st.DrawFn):
    width, height = draw(st.integers(200, 450)), draw(st.integers(200, 450))
    left, top = draw(st.integers(0, width // 4)), draw(st.integers(0, height // 4))
    roi = Box(left, top, draw(st.integers(3 * width // 4, width)), draw(st.integers(3 * height // 4, height)))
    views = tile_boxes(
        width,
        height,
        roi=roi,
        tiles=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        overlap=draw(st.floats(0, 0.4)),
    )
    x = roi.left + draw(st.floats(0.25, 0.75)) * roi.width
    y = roi.top + draw(st.floats(0.25, 0.75)) * roi.height
    offset = draw(st.sampled_from([PLAIN, LOOKS_AT_FIRST, (-2.0, 5.0)]))
    return width, height, views, x, y, offset


@given(scenes())
def test_a_spot_is_found_once_and_within_a_cell_through_any_region_of_interest_and_tiles(scene):
    width, height, views, x, y, offset = scene
    spread = 15.0
    heat = spread_out([seen(view, x, y, spread, offset) for view in views], width, height, offset)
    (region,) = find_regions(heat, threshold=0.5)
    cell_x = max(view.width for view in views) / CELLS
    cell_y = max(view.height for view in views) / CELLS
    assert abs(region.centroid[0] - x) < cell_x
    assert abs(region.centroid[1] - y) < cell_y
    assert abs(region.peak_at[0] - x) <= cell_x
    assert abs(region.peak_at[1] - y) <= cell_y
    across = 2 * spread * np.sqrt(2 * np.log(2))  # of a Gaussian at half its height
    assert abs(region.box.width - across) < 2 * cell_x + 2
    assert abs(region.box.height - across) < 2 * cell_y + 2


def scaled(patch: TileHeatmap) -> TileHeatmap:
    """As each tile is explained by itself: its own peak counts as one, however faint it is."""
    return TileHeatmap(patch.heatmap / patch.heatmap.max(), patch.box, float(patch.heatmap.max()))


@st.composite
def tilings(draw: st.DrawFn):
    width, height = draw(st.integers(400, 900)), draw(st.integers(400, 900))
    tiles = (draw(st.integers(1, 3)), draw(st.integers(2, 4)))
    return width, height, tile_boxes(width, height, tiles=tiles, overlap=draw(st.floats(0, 0.5)))


@given(tilings(), st.data())
def test_a_defect_across_neighbouring_tiles_is_one_region(tiling, data):
    width, height, views = tiling
    one, other = data.draw(st.sampled_from([pair for pair in pairwise(views) if pair[0].top == pair[1].top]))
    x = (one.right + other.left) / 2 + data.draw(st.floats(-10, 10))
    y = one.top + data.draw(st.floats(0.3, 0.7)) * one.height
    spread = 20.0
    flagged = [
        scaled(patch) for view in views if (patch := seen(view, x, y, spread, PLAIN)).heatmap.max() >= 0.5
    ]
    (region,) = find_regions(spread_out(flagged, width, height, PLAIN), threshold=0.5)
    cell_x, cell_y = one.width / CELLS, one.height / CELLS
    across = 2 * spread * np.sqrt(2 * np.log(2))
    assert region.box.left - cell_x - 1 <= x <= region.box.right + cell_x
    assert abs((region.box.top + region.box.bottom - 1) / 2 - y) < cell_y + 1
    # A tile that sees the flank alone shows it warmer than it is, so the box may be larger, hardly smaller.
    assert region.box.width > across - 2 * cell_x - 2
    assert region.box.height > across - 2 * cell_y - 2


@given(tilings(), st.data())
def test_defects_in_different_tiles_stay_apart_each_in_its_place(tiling, data):
    width, height, views = tiling
    chosen = data.draw(st.lists(st.sampled_from(views), min_size=2, max_size=3, unique=True))
    places = [((view.left + view.right - 1) / 2, (view.top + view.bottom - 1) / 2) for view in chosen]
    spread = max(views[0].width, views[0].height) / 14  # two cells
    assume(min(np.hypot(a - c, b - d) for (a, b), (c, d) in combinations(places, 2)) > 6 * spread)
    heats = []
    for view in views:
        patches = [seen(view, x, y, spread, PLAIN) for x, y in places]
        heat = np.maximum.reduce([patch.heatmap for patch in patches])
        if heat.max() >= 0.5:  # it shows a part of a defect, not its surroundings alone
            heats.append(scaled(TileHeatmap(heat, view, 1.0)))
    regions = find_regions(spread_out(heats, width, height, PLAIN), threshold=0.5)
    assert len(regions) == len(places)
    # Neighbouring tiles show a flank warmer than it is, which draws the centre of a defect as wide as this.
    near = spread / 2 + 1
    for x, y in places:
        (found,) = [r for r in regions if r.box.left <= x < r.box.right and r.box.top <= y < r.box.bottom]
        assert abs(found.centroid[0] - x) < near
        assert abs(found.centroid[1] - y) < near


heats = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).random((7, 9)).astype(np.float32) ** 3
)


@given(heats, st.integers(9, 120), st.integers(7, 120), st.floats(0.05, 1))
def test_regions_lie_in_the_frame_and_hold_what_they_say(heat, width, height, threshold):
    spread = spread_out([patch_of(heat, width, height)], width, height)
    regions = find_regions(spread, threshold=threshold, maximum=1000)
    assert sum(region.area for region in regions) == (spread >= np.float32(threshold)).sum()
    for region in regions:
        box = region.box
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.top < box.bottom <= height
        assert 1 <= region.area <= box.area
        x, y = region.peak_at
        assert region.peak == spread[int(y), int(x)] >= np.float32(threshold)
        for px, py in (region.peak_at, region.centroid, *region.contour):
            assert box.left <= px <= box.right - 1
            assert box.top <= py <= box.bottom - 1
        assert spread[box.top : box.bottom, box.left : box.right].max() >= region.peak
    assert [region.peak for region in regions] == sorted((region.peak for region in regions), reverse=True)


@given(heats, st.integers(9, 120), st.integers(7, 120))
def test_mirrored_heat_gives_mirrored_boxes(heat, width, height):
    plain = ((224 / 9 - 1) / 2, (224 / 7 - 1) / 2)
    spread = spread_out([patch_of(heat, width, height)], width, height, plain)
    mirrored = spread_out([patch_of(heat[:, ::-1], width, height)], width, height, plain)
    np.testing.assert_allclose(mirrored, spread[:, ::-1], atol=1e-5)

    boxes = {region.box for region in find_regions(spread, threshold=0.3, maximum=1000)}
    flipped = np.ascontiguousarray(spread[:, ::-1])
    back = {region.box for region in find_regions(flipped, threshold=0.3, maximum=1000)}
    assert boxes == {Box(width - box.right, box.top, width - box.left, box.bottom) for box in back}


@given(scenes(), st.integers(2, 4))
def test_a_larger_frame_scales_the_boxes(scene, factor):
    width, height, _, x, y, offset = scene
    view = Box(0, 0, width, height)
    patch = seen(view, x, y, 30.0, offset)
    large = TileHeatmap(patch.heatmap, Box(0, 0, factor * width, factor * height), 1.0)
    (small,) = find_regions(spread_out([patch], width, height, offset), threshold=0.5)
    (scaled,) = find_regions(spread_out([large], factor * width, factor * height, offset), threshold=0.5)
    for side in ("left", "top", "right", "bottom"):
        assert abs(getattr(scaled.box, side) - factor * getattr(small.box, side)) <= factor


@pytest.mark.parametrize(
    "heat", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), np.inf), -np.eye(4)]
)
def test_heat_that_is_none_has_no_region(heat):
    assert find_regions(spread_out([patch_of(heat, 40, 40)], 40, 40), threshold=0.5) == ()


def test_a_broken_patch_does_not_spoil_the_others():
    good = seen(Box(0, 0, 100, 100), 50, 50, 10, PLAIN)
    broken = TileHeatmap(np.full((28, 28), np.nan, np.float32), Box(100, 0, 200, 100), 1.0)
    assert len(find_regions(spread_out([broken, good], 200, 100), threshold=0.5)) == 1


def test_without_patches_there_is_no_heat():
    assert not spread_out([], 20, 10).any()
    assert find_regions(spread_out([], 20, 10), threshold=0.5) == ()


def test_small_places_and_those_beyond_the_maximum_are_left_out():
    heat = np.zeros((20, 60), np.float32)
    for index in range(6):
        heat[2 : 3 + index, 10 * index : 10 * index + 3] = 0.5 + index / 20
    assert len(find_regions(heat, threshold=0.4)) == 6
    assert [region.area for region in find_regions(heat, threshold=0.4, minimum_area=9)] == [18, 15, 12, 9]
    assert [region.area for region in find_regions(heat, threshold=0.4, maximum=2)] == [18, 15]


def test_a_region_at_the_border_reaches_the_border():
    heat = np.zeros((28, 28), np.float32)
    heat[0, 0] = heat[27, 27] = 1
    boxes = {r.box for r in find_regions(spread_out([patch_of(heat, 448, 448)], 448, 448), threshold=0.5)}
    assert {(box.left, box.top) for box in boxes if box.left < 224} == {(0, 0)}
    assert {(box.right, box.bottom) for box in boxes if box.left >= 224} == {(448, 448)}


def two_tiles(left_cells: slice, right_cells: slice, *, turned: bool = False) -> list[TileHeatmap]:
    """Two tiles of 8 cells of 16 pixels side by side (above each other if `turned`), hot in these columns."""
    tiles = []
    for index, cells in enumerate((left_cells, right_cells)):
        heat = np.zeros((8, 8), np.float32)
        heat[3:5, cells] = 1
        box = Box(128 * index, 0, 128 * (index + 1), 128)
        if turned:
            heat, box = heat.T, Box(0, 128 * index, 128, 128 * (index + 1))
        tiles.append(TileHeatmap(np.ascontiguousarray(heat), box, 1.0, 0.9))
    return tiles


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("left", "right", "count"),
    [
        (slice(5, 8), slice(0, 2), 1),
        (slice(4, 7), slice(1, 3), 1),  # heat is weaker where a tile ends
        (slice(3, 6), slice(2, 4), 2),
        (slice(0, 2), slice(6, 8), 2),
    ],
)
def test_a_defect_across_the_border_of_two_tiles_is_one_region(
    left: slice, right: slice, count: int, turned: bool
) -> None:
    tiles = two_tiles(left, right, turned=turned)
    size = (128, 256) if turned else (256, 128)
    heat = merge_heatmaps(tiles, width=size[0], height=size[1], input_size=(128, 128), cell_offset=(7.5, 7.5))
    regions = find_regions(heat, threshold=0.5, tiles=tiles)
    assert len(regions) == count
    if count == 1:
        box = regions[0].box
        start, stop = (box.top, box.bottom) if turned else (box.left, box.right)
        assert start < 128 < stop
        assert regions[0].area <= box.area


def test_two_defects_along_a_border_stay_two_regions() -> None:
    tiles = two_tiles(slice(4, 7), slice(1, 3))
    for tile in tiles:
        tile.heatmap[:] = np.roll(tile.heatmap, -3, axis=0) + np.roll(tile.heatmap, 3, axis=0)
    heat = merge_heatmaps(tiles, width=256, height=128, input_size=(128, 128), cell_offset=(7.5, 7.5))
    assert len(find_regions(heat, threshold=0.5, tiles=tiles)) == 2
