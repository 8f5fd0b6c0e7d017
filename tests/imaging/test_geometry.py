"""Parts of the frame and the three grids over them."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from monitor.errors import UsageError
from monitor.imaging.geometry import AxisMapping, tile_boxes, tiles_to_explain
from monitor.records import Box


@st.composite
def plans(draw: st.DrawFn) -> dict[str, object]:
    width, height = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
    rows, columns = draw(st.integers(1, min(5, bottom - top))), draw(st.integers(1, min(5, right - left)))
    return {
        "width": width,
        "height": height,
        "roi": Box(left, top, right, bottom),
        "tiles": (rows, columns),
        "overlap": draw(st.floats(0, 0.5)),
    }


def times_covered(views: tuple[Box, ...], width: int, height: int) -> np.ndarray:
    count = np.zeros((height, width), int)
    for view in views:
        count[view.top : view.bottom, view.left : view.right] += 1
    return count


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9), st.floats(0, 1, width=32))
def test_tiles_at_the_threshold_are_explained_the_highest_score_first(scores, threshold):
    chosen = tiles_to_explain(np.array(scores, np.float32), threshold)
    reaching = {index for index, score in enumerate(scores) if score >= threshold}
    assert set(chosen) == reaching or (not reaching and len(chosen) == 1)
    assert [scores[index] for index in chosen] == sorted(scores, reverse=True)[: len(chosen)]


@given(plans())
def test_views_cover_the_region_of_interest_and_nothing_else(plan):
    count = times_covered(tile_boxes(**plan), plan["width"], plan["height"])
    roi = plan["roi"]
    inside = count[roi.top : roi.bottom, roi.left : roi.right]
    assert inside.min() >= 1
    assert count.sum() == inside.sum()


@given(plans())
def test_without_overlap_each_pixel_is_in_one_view(plan):
    views = tile_boxes(**{**plan, "overlap": 0.0})
    assert times_covered(views, plan["width"], plan["height"]).max() == 1


@given(plans())
@example({"width": 1, "height": 15, "roi": Box(0, 0, 1, 15), "tiles": (5, 1), "overlap": 0.5})
def test_there_are_as_many_views_as_tiles_of_nearly_one_size(plan):
    views = tile_boxes(**plan)
    assert len(views) == plan["tiles"][0] * plan["tiles"][1]
    for sizes in ([view.width for view in views], [view.height for view in views]):
        assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1


@given(st.integers(40, 4000), st.integers(2, 6), st.floats(0, 0.5))
def test_neighbours_share_the_asked_part_of_a_tile(width, columns, overlap):
    views = tile_boxes(width, 1, tiles=(1, columns), overlap=overlap)
    for one, other in pairwise(views):
        assert one.right - other.left == pytest.approx(overlap * one.width, abs=2)


def test_views_run_row_by_row():
    assert tile_boxes(6, 4, tiles=(2, 2)) == (
        Box(0, 0, 3, 2),
        Box(3, 0, 6, 2),
        Box(0, 2, 3, 4),
        Box(3, 2, 6, 4),
    )


@pytest.mark.parametrize(
    "roi", [Box(0, 0, 101, 50), Box(-1, 0, 5, 5), Box(5, 5, 5, 9), Box(0, 60, 5, 50), Box(0, 0, 10, 51)]
)
def test_a_region_of_interest_beyond_the_frame_is_refused(roi):
    with pytest.raises(UsageError, match="does not lie within the camera's 100x50 frame"):
        tile_boxes(100, 50, roi=roi)


@pytest.mark.parametrize("tiles", [(0, 1), (1, 0), (51, 1), (1, 101)])
def test_tiles_that_do_not_fit_are_refused(tiles):
    with pytest.raises(UsageError, match="tiles do not fit"):
        tile_boxes(100, 50, tiles=tiles)


@pytest.mark.parametrize("overlap", [-0.01, 0.51, float("nan")])
def test_an_overlap_beyond_a_half_is_refused(overlap):
    with pytest.raises(UsageError, match="can overlap by 0 to"):
        tile_boxes(100, 50, tiles=(1, 2), overlap=overlap)


@st.composite
def axes(draw: st.DrawFn) -> AxisMapping:
    start = draw(st.integers(0, 3000))
    size = draw(st.integers(8, 512))
    return AxisMapping(
        start=start,
        stop=start + draw(st.integers(1, 4000)),
        size=size,
        cells=draw(st.integers(1, 64)),
        offset=draw(st.floats(-8, 8)),
    )


@given(axes(), st.floats(-100, 5000))
def test_ways_there_and_back_cancel(axis, place):
    assert axis.input_to_frame(axis.frame_to_input(place)) == pytest.approx(place, abs=1e-6)
    assert axis.cell_to_frame(axis.frame_to_cell(place)) == pytest.approx(place, abs=1e-6)


@given(axes())
def test_the_edges_of_the_part_are_the_edges_of_the_input(axis):
    assert axis.frame_to_input(axis.start - 0.5) == pytest.approx(-0.5)
    assert axis.frame_to_input(axis.stop - 0.5) == pytest.approx(axis.size - 0.5)


@given(axes())
def test_cell_zero_looks_at_the_offset(axis):
    assert axis.frame_to_input(axis.cell_to_frame(0.0)) == pytest.approx(axis.offset, abs=1e-9)


@given(axes())
def test_every_pixel_shares_out_exactly_one(axis):
    weights = axis.interpolation_weights()
    assert weights.shape == (axis.stop - axis.start, axis.cells)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


@given(st.integers(1, 40), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_with_the_offset_of_plain_resizing_it_is_plain_resizing(cells, pixels, seed):
    line = np.random.default_rng(seed).random((1, cells), np.float32)
    axis = AxisMapping(start=7, stop=7 + pixels, size=8 * cells, cells=cells, offset=3.5)
    resized = cv2.resize(line, (pixels, 1), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(axis.interpolation_weights() @ line[0], resized[0], atol=1e-4)


@given(st.integers(230, 900), st.integers(0, 50), st.floats(0.2, 0.8))
def test_a_spot_lands_in_the_network_input_where_the_axis_says(length, start, share):
    size = 224
    spot = start + share * length
    assume(length >= size)
    pixels = np.arange(start + length)
    frame = np.exp(-(((pixels - spot) / (length / 20)) ** 2)).astype(np.float32)
    shown = cv2.resize(frame[None, start:], (size, 1), interpolation=cv2.INTER_AREA)[0]
    axis = AxisMapping(start=start, stop=start + length, size=size, cells=28, offset=0.0)
    middle = float((np.arange(size) * shown).sum() / shown.sum())
    assert middle == pytest.approx(axis.frame_to_input(spot), abs=0.3)
