"""Frames in tiles: the daemon's boxes, and labels that a border does not falsify."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.imaging.geometry import tile_boxes
from monitor.learning.datasets.sample import Sample, load_image, load_mask
from monitor.learning.datasets.tiling import Tiling, read_truth, tile, tiles_of
from monitor.records import Box
from tests.support.frame_truths import HEIGHT, WIDTH, truth_of, with_rectangle


@pytest.fixture
def frame(tmp_path: Path) -> Sample:
    """A frame with a bright rectangle at (50, 40) to (70, 50), which is its defect."""
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[40:50, 50:70], mask[40:50, 50:70] = 200, 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "a_mask.png"), mask)
    return Sample(tmp_path / "a.png", "part", "pit", True, None, tmp_path / "a_mask.png")


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.2, 0.5]),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_tiles_are_those_of_the_daemon(rows, columns, overlap, left, top):
    tiling = Tiling((left, top, 80, 60), (rows, columns), overlap)
    assert tiling.boxes(WIDTH, HEIGHT) == tile_boxes(
        WIDTH, HEIGHT, roi=Box(left, top, left + 80, top + 60), tiles=(rows, columns), overlap=overlap
    )


@given(st.integers(0, 100), st.integers(0, 70), st.integers(1, 19), st.integers(1, 19))
def test_a_tile_is_defective_good_or_cut_by_how_much_of_the_defect_it_shows(left, top, width, height):
    truth = with_rectangle(left, top, left + width, top + height)
    box = Box(0, 0, 60, 90)
    shown = max(0, min(left + width, 60) - left) * height
    expected = False if shown == 0 else True if 2 * shown >= width * height else None
    assert truth.label(box) is expected


def test_each_of_many_small_defects_counts_for_itself():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:14, 10:14] = mask[50:54, 10:14] = mask[10:14, 100:104] = True
    truth = truth_of(mask)
    assert truth.label(Box(0, 0, 30, 30)) is True
    assert truth.label(Box(40, 0, 80, 90)) is False
    assert truth.label(Box(0, 0, 30, 11)) is None


def test_a_tile_full_of_a_large_defect_is_defective():
    assert with_rectangle(0, 0, WIDTH, HEIGHT).label(Box(0, 0, 30, 30)) is True


def test_a_tile_that_a_long_crack_crosses_is_defective_and_its_end_is_cut():
    truth = with_rectangle(10, 40, 110, 43)
    assert truth.label(Box(40, 0, 70, 60)) is True
    assert truth.label(Box(0, 0, 18, 60)) is None
    assert truth.label(Box(40, 42, 60, 60)) is None


def test_nobody_knows_the_label_of_a_tile_without_a_mask():
    truth = truth_of(np.zeros((HEIGHT, WIDTH), bool), is_known=False)
    assert truth.label(Box(0, 0, 30, 30)) is None
    assert tile(truth, Box(0, 0, 30, 30)).defective


def test_a_tile_has_the_pixels_and_the_mask_of_its_place(frame):
    truth = read_truth(frame)
    assert (truth.width, truth.height, truth.is_known) == (WIDTH, HEIGHT, True)
    assert truth.piece_box(0) == Box(50, 40, 70, 50)
    found = tile(truth, Box(60, 30, 100, 60))
    image = load_image(found)
    mask = load_mask(found, *image.shape[:2])
    assert image.shape == (30, 40, 3)
    assert mask.shape == (30, 40)
    np.testing.assert_array_equal(image[..., 0] == 200, mask)
    assert mask.sum() == 100


def test_an_undivided_frame_is_the_sample_itself(frame):
    truth = read_truth(frame)
    assert tiles_of([truth], Tiling()) == [[frame]]
    (tiles,) = tiles_of([truth], Tiling(tiles=(1, 2)))
    # The defect lies across the border, and each half shows half of it.
    assert [one.box for one in tiles] == [Box(0, 0, 60, 90), Box(60, 0, 120, 90)]
    assert all(one.defective for one in tiles)
