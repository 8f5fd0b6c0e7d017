"""Tiles drawn for an epoch, and tiles proposed for small defects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.learning.datasets.tiling import Tiling
from monitor.learning.train.sampling import TrainingTiles
from monitor.learning.train.tile_proposal import measure_defects, propose_tiles
from tests.support.frame_truths import HEIGHT, WIDTH, truth_of, with_rectangle

INPUT = (224, 224)


@given(
    st.integers(0, WIDTH - 20),
    st.integers(0, HEIGHT - 20),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 9),
)
def test_drawn_tiles_lie_in_the_region_and_have_true_labels(left, top, width, height, epoch):
    tiling = Tiling((10, 5, 100, 80), (2, 2), 0.25)
    truths = [with_rectangle(left, top, left + width, top + height), with_rectangle(0, 0, 0, 0)]
    size = tiling.boxes(WIDTH, HEIGHT)[0]
    drawn = TrainingTiles(truths, tiling, seed=1).draw(epoch)
    for sample in drawn:
        box = sample.box
        assert (box.width, box.height) == (size.width, size.height)
        assert box.left >= 10
        assert box.top >= 5
        assert box.right <= 110
        assert box.bottom <= 85
    # The last is of the good frame.
    assert not drawn[-1].defective
    assert drawn == TrainingTiles(truths, tiling, seed=1).draw(epoch)


def test_a_defect_that_fits_is_shown_as_a_whole_at_many_places():
    truths = [with_rectangle(50, 40, 60, 46), *(with_rectangle(0, 0, 0, 0) for _ in range(20))]
    sampler = TrainingTiles(truths, Tiling(tiles=(2, 2)), seed=0)
    seen = set()
    for epoch in range(30):
        defective = [sample.box for sample in sampler.draw(epoch) if sample.defective]
        assert len(defective) == 4  # rare defects are repeated
        for box in defective:
            assert box.left <= 50
            assert box.right >= 60
            assert box.top <= 40
            assert box.bottom >= 46
            seen.add(box)
    assert len(seen) > 60


def test_tiles_without_a_defect_show_none_of_it():
    truth = with_rectangle(50, 40, 60, 46)
    sampler = TrainingTiles([truth, with_rectangle(0, 0, 0, 0)], Tiling(tiles=(2, 3)), seed=0)
    drawn = [sampler.draw(epoch) for epoch in range(50)]
    of_the_defective_frame = [epoch[1] for epoch in drawn if len(epoch) == 3]
    assert len(of_the_defective_frame) > 40
    assert not any(sample.defective for sample in of_the_defective_frame)
    assert all(truth.label(sample.box) is False for sample in of_the_defective_frame)


def test_tiles_along_a_long_crack_show_it():
    truth = with_rectangle(5, 44, 115, 46)
    sampler = TrainingTiles([truth, *(with_rectangle(0, 0, 0, 0) for _ in range(8))], Tiling(tiles=(2, 3)), 0)
    boxes = [sample.box for epoch in range(20) for sample in sampler.draw(epoch) if sample.defective]
    assert len(boxes) == 20 * 4
    assert all(truth.label(box) is True for box in boxes)
    assert len({box.left for box in boxes}) > 20


def test_a_defect_that_a_region_cuts_off_is_not_drawn():
    truth = with_rectangle(0, 0, 40, 40)
    assert TrainingTiles([truth], Tiling((35, 35, 60, 50), (1, 2)), seed=0).draw(0)
    for epoch in range(20):
        drawn = TrainingTiles([truth], Tiling((35, 35, 60, 50), (1, 2)), seed=0).draw(epoch)
        assert not any(sample.defective for sample in drawn)


def test_defects_without_a_mask_are_not_drawn_in_tiles():
    unknown = truth_of(np.zeros((HEIGHT, WIDTH), bool), is_known=False)
    assert TrainingTiles([unknown], Tiling(tiles=(2, 2)), seed=0).draw(0) == []
    assert TrainingTiles([unknown], Tiling(), seed=0).draw(0) == [unknown.sample]


@given(st.integers(300, 3000), st.integers(300, 3000), st.integers(2, 40))
def test_proposed_tiles_show_small_defects_or_come_near_to_the_frames_own_pixels(width, height, side):
    truths = [with_rectangle(100, 100, 100 + side, 100 + side, width=width, height=height)]
    proposed = propose_tiles(truths, INPUT, Tiling())
    sizes = measure_defects(truths, proposed, INPUT)
    assert not sizes.is_vanishing or sizes.scale > 0.6
    assert 0 <= proposed.overlap <= 0.5
    assert proposed.boxes(width, height)


def test_large_defects_need_no_tiles():
    truths = [with_rectangle(100, 100, 250, 200, width=512, height=512)]
    assert propose_tiles(truths, INPUT, Tiling()) == Tiling()


def test_hairlines_of_class8_get_four_overlapping_tiles():
    truths = [with_rectangle(100, 100, 120, 118, width=512, height=512)]
    assert measure_defects(truths, Tiling(), INPUT).is_vanishing
    proposed = propose_tiles(truths, INPUT, Tiling())
    assert proposed.tiles == (2, 2)
    assert proposed.overlap > 0.05


@pytest.mark.parametrize("roi", [None, (100, 100, 280, 280)])
def test_the_region_of_interest_is_what_is_divided(roi):
    truths = [with_rectangle(120, 120, 130, 128, width=1000, height=1000)]
    proposed = propose_tiles(truths, INPUT, Tiling(roi=roi))
    assert proposed.roi == roi
    assert (proposed.tiles == (1, 1)) == (roi is not None)


def test_cracks_longer_than_a_tile_do_not_make_tiles_overlap():
    truths = [with_rectangle(10, 300, 490, 304, width=500, height=1240) for _ in range(5)]
    proposed = propose_tiles(truths, INPUT, Tiling())
    assert (proposed.tiles, proposed.overlap) == ((4, 2), 0)
