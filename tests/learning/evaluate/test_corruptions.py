"""Corruptions: repeatable, of the same size, and stronger at a higher degree."""

import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.learning.evaluate import corruptions as c


def texture(height=96, width=128, seed=3):
    random = np.random.default_rng(seed)
    grey = cv2.GaussianBlur(random.normal(0, 60, (height, width)), (0, 0), 1.5) * 3 + 110
    return cv2.cvtColor(np.clip(grey, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def spot(height, width, x, y, radius):
    return cv2.circle(np.zeros((height, width), np.uint8), (x, y), radius, 1, -1).astype(bool)


def level(one, other):
    return float(np.abs(one.astype(float) - other).mean())


EACH = pytest.mark.parametrize("corruption", c.CORRUPTIONS, ids=lambda one: one.name)


@EACH
def test_the_same_picture_always_gives_the_same_result(corruption):
    image, mask = texture(), spot(96, 128, 40, 50, 12)
    first, first_mask = corruption.apply(image.copy(), mask.copy())
    corruption.apply(texture(seed=9), None)
    again, again_mask = corruption.apply(image.copy(), mask.copy())
    assert np.array_equal(first, again)
    assert np.array_equal(first_mask, again_mask)


@EACH
def test_the_picture_changes_and_its_size_does_not(corruption):
    image, mask = texture(480, 640), spot(480, 640, 200, 250, 60)
    before = zlib.crc32(image), zlib.crc32(mask)
    changed, changed_mask = corruption.apply(image, mask)
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    assert (changed_mask.shape, changed_mask.dtype) == (mask.shape, bool)
    assert level(changed, image) > 0.3
    assert (zlib.crc32(image), zlib.crc32(mask)) == before


@EACH
@pytest.mark.parametrize("shape", [(1, 1), (17, 33), (300, 21)])
def test_any_size_is_taken_and_a_picture_without_a_mask_has_none_after(corruption, shape):
    changed, mask = corruption.apply(texture(*shape), None)
    assert changed.shape == (*shape, 3)
    assert mask is None


def test_jpeg_spoils_more_at_lower_quality():
    image = texture()
    assert level(c.jpeg(image, 30), image) > level(c.jpeg(image, 50), image) > level(c.jpeg(image, 95), image)


def test_noise_has_the_deviation_asked_for_and_differs_between_pictures():
    grey = np.full((200, 200, 3), 128, np.uint8)
    added = c.noise(grey, 8).astype(float) - 128
    assert added.std() == pytest.approx(8, rel=0.05)
    assert added.mean() == pytest.approx(0, abs=0.2)
    other = c.noise(grey + np.uint8(1), 8).astype(float) - 129
    assert abs(np.corrcoef(added.ravel(), other.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_brightness_scales_the_mean_and_contrast_keeps_it(factor):
    image = np.clip(texture(), 60, 180)
    bright, contrasted = c.brightness(image, factor), c.contrast(image, factor)
    assert bright.mean() == pytest.approx(image.mean() * factor, rel=0.01)
    assert contrasted.mean() == pytest.approx(image.mean(), abs=0.5)
    assert contrasted.std() == pytest.approx(image.std() * factor, rel=0.02)


def test_values_are_cut_off_and_do_not_wrap_around():
    white = np.full((8, 8, 3), 250, np.uint8)
    assert c.brightness(white, 1.2).min() == 255


@settings(max_examples=40)
@given(st.integers(30, 97), st.integers(30, 65), st.floats(-20, 20))
def test_rotation_moves_the_mask_with_the_picture(x, y, degrees):
    mask = spot(96, 128, x, y, 8)
    image = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    turned, turned_mask = c.rotate(image, mask, degrees)
    assert np.mean((turned[..., 0] >= 128) != turned_mask) < 0.01
    angle = np.radians(degrees)
    dx, dy = x - 63.5, y - 47.5
    rows, columns = np.nonzero(turned_mask)
    assert columns.mean() == pytest.approx(63.5 + dx * np.cos(angle) + dy * np.sin(angle), abs=1)
    assert rows.mean() == pytest.approx(47.5 - dx * np.sin(angle) + dy * np.cos(angle), abs=1)


@settings(max_examples=60)
@given(st.integers(15, 112), st.integers(15, 80), st.sampled_from([1.1, 1.25, 1.5]))
def test_closer_the_defect_stays_whole_and_grows_by_the_square(x, y, factor):
    mask = spot(96, 128, x, y, 14)
    image = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255
    near, near_mask = c.zoom(image, mask, factor)
    assert near_mask.sum() == pytest.approx(mask.sum() * factor**2, rel=0.06)
    assert np.mean((near[..., 0] >= 128) != near_mask) < 0.01


def test_closer_looks_at_the_middle_unless_the_defect_asks_otherwise():
    image = texture()
    plain, _ = c.zoom(image, None, 1.25)
    central, _ = c.zoom(image, spot(96, 128, 64, 48, 8), 1.25)
    aside, _ = c.zoom(image, spot(96, 128, 9, 9, 8), 1.25)
    assert np.array_equal(plain, central)
    assert level(plain, aside) > 1


def test_closer_never_shows_what_lies_beyond_the_border():
    # A defect that touches the border: the window ends at the border too.
    mask = np.zeros((100, 100), bool)
    mask[:10, :10] = True
    image = np.arange(100, dtype=np.uint8)[None, :, None].repeat(100, 0).repeat(3, 2)
    near, near_mask = c.zoom(image, mask, 1.25)
    assert np.all(np.diff(near[0, :, 0].astype(int)) >= 0)
    assert near_mask[0, 0]


def test_a_defect_larger_than_the_window_fills_it():
    mask = np.zeros((100, 100), bool)
    mask[2:98, 2:98] = True
    _, near_mask = c.zoom(texture(100, 100), mask, 1.5)
    assert near_mask.all()


def test_further_away_the_defect_shrinks_about_the_middle():
    mask = spot(200, 200, 140, 100, 20)
    _, far_mask = c.zoom(texture(200, 200), mask, 0.8)
    rows, columns = np.nonzero(far_mask)
    assert far_mask.sum() == pytest.approx(mask.sum() * 0.64, rel=0.06)
    assert columns.mean() == pytest.approx(99.5 + 0.8 * 40.5, abs=0.6)
    assert rows.mean() == pytest.approx(99.5 + 0.8 * 0.5, abs=0.6)


def test_h264_spoils_more_at_a_lower_rate_and_keeps_the_parts_in_place():
    image = texture(256, 256)
    at_rate = {bits: c.h264(image, bits) for bits in (0.2, 1.0, 4.0)}
    assert level(at_rate[0.2], image) > level(at_rate[1.0], image) > level(at_rate[4.0], image) > 0
    assert np.corrcoef(at_rate[1.0].ravel(), image.ravel())[0, 1] > 0.9
