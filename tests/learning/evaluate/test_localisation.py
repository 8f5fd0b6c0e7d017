"""Localisation figures: overlaps and pointing against pixels counted one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.learning.evaluate import localisation as loc
from monitor.records import Box, Region

SIDE = 24


@st.composite
def boxes(draw):
    left, top = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
    return Box(left, top, draw(st.integers(left + 1, SIDE)), draw(st.integers(top + 1, SIDE)))


def filled(box):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[box.top : box.bottom, box.left : box.right] = True
    return mask


def region(box, peak_at=None, peak=1.0):
    centre = ((box.left + box.right - 1) / 2, (box.top + box.bottom - 1) / 2)
    return Region(box, centre, peak_at or centre, peak, box.area, ((box.left, box.top),))


@given(boxes(), boxes())
def test_overlap_is_that_of_the_pixels(one, other):
    a, b = filled(one), filled(other)
    assert loc.overlap(one, other) == pytest.approx((a & b).sum() / (a | b).sum())
    assert loc.overlap(one, other) == loc.overlap(other, one)


@given(boxes())
def test_the_box_of_a_filled_box_is_that_box(box):
    assert loc.mask_boxes(filled(box)) == (box,)


def test_of_a_mask_in_pieces_the_one_that_fits_best_counts():
    small, large = Box(1, 2, 3, 4), Box(10, 1, 14, 9)
    mask = filled(small) | filled(large)
    assert set(loc.mask_boxes(mask)) == {small, large}
    heat = mask.astype(np.float32)
    assert loc.localise_defect(heat, [region(small, (1.0, 2.0))], mask).overlap == 1
    assert loc.localise_defect(heat, [region(large, (10.0, 1.0))], mask).overlap == 1
    beside = loc.localise_defect(heat, [region(Box(4, 2, 6, 4))], mask)
    assert (beside.overlap, beside.centre_distance) == (0, 3)


@given(boxes())
def test_heat_that_is_the_mask_is_a_perfect_place(box):
    mask = filled(box)
    found = loc.localise_defect(
        mask.astype(np.float32), [region(box, (float(box.left), float(box.top)))], mask
    )
    assert found == loc.DefectLocalisation(True, pytest.approx(1.0), 1.0, 0.0, 1)


def test_a_place_worked_by_hand():
    mask, heat = filled(Box(4, 4, 8, 8)), np.zeros((SIDE, SIDE), np.float32)
    heat[6, 6], heat[6, 12] = 0.25, 0.75
    far, near = region(Box(11, 5, 14, 8), (12.0, 6.0), 0.75), region(Box(5, 5, 8, 8), (6.0, 6.0), 0.25)
    found = loc.localise_defect(heat, [far, near], mask)
    assert not found.pointed
    assert found.heat_inside == pytest.approx(0.25)
    assert found.overlap == 0
    assert found.centre_distance == pytest.approx(math.hypot(12.5 - 6, 6.5 - 6))
    assert found.regions == 2
    assert loc.localise_defect(heat, [near], mask).overlap == pytest.approx(9 / 16)


def test_no_region_is_a_miss():
    assert loc.localise_defect(np.zeros((SIDE, SIDE), np.float32), [], filled(Box(1, 1, 2, 2))) is loc.MISSED


def test_misses_count_against_the_found_and_not_into_the_distances():
    hit = loc.DefectLocalisation(True, 0.8, 0.6, 3.0, 2)
    near = loc.DefectLocalisation(True, 0.6, 0.4, 5.0, 1)
    summary = loc.localisation([hit, near, loc.MISSED], repeats=20)
    assert (summary.defects, summary.with_region, summary.extra_regions) == (3, 2, 1)
    assert summary.pointing.value == pytest.approx(2 / 3)
    assert summary.median_overlap.value == pytest.approx(0.4)
    assert summary.found_at_03.value == pytest.approx(2 / 3)
    assert summary.found_at_05.value == pytest.approx(1 / 3)
    assert summary.heat_inside.value == pytest.approx(0.7)
    assert summary.centre_distance.value == pytest.approx(4.0)
    assert 0 <= summary.pointing.low <= summary.pointing.value <= summary.pointing.high <= 1


def test_when_all_were_missed_there_is_no_distance():
    summary = loc.localisation([loc.MISSED], repeats=5)
    assert summary.pointing.value == 0
    assert math.isnan(summary.centre_distance.value)
