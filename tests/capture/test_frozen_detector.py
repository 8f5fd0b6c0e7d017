"""A picture that comes again and again is counted, and told from one that changed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.frozen_detector import FrozenDetector
from monitor.simulate.surface import SurfaceGenerator

PICTURES = [np.full((9, 11, 3), level, np.uint8) for level in range(3)]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_it_counts_the_run_of_equal_pictures(order: list[int]):
    stillness = FrozenDetector()
    for place, number in enumerate(order):
        run = 1
        while run <= place and order[place - run] == number:
            run += 1
        assert stillness.repeat_count(PICTURES[number].copy()) == run


@given(st.integers(8, 577), st.integers(8, 577), st.data())
def test_one_pixel_that_changes_by_one_level_is_a_new_picture(height: int, width: int, data: st.DataObject):
    picture = np.zeros((height, width, 3), np.uint8)
    stillness = FrozenDetector()
    stillness.repeat_count(picture)
    at = tuple(data.draw(st.integers(0, size - 1)) for size in picture.shape)
    picture[at] = 1  # in the same memory, as frames in a ring are
    assert stillness.repeat_count(picture) == 1


def test_of_a_large_picture_noise_and_movement_are_seen():
    noise = np.random.default_rng(1).integers(0, 2, (3000, 4000, 1), np.uint8)
    still = np.repeat(100 + noise, 3, axis=2)
    stillness = FrozenDetector()
    assert [stillness.repeat_count(still) for _ in range(3)] == [1, 2, 3]
    assert stillness.repeat_count(still + np.roll(noise, 1, axis=1)) == 1
    assert stillness.repeat_count(np.roll(still, 1, axis=0)) == 1


def test_a_simulated_line_never_stands_still():
    line = SurfaceGenerator(2, 128, 96)
    stillness = FrozenDetector()
    assert {stillness.repeat_count(line.picture(number)) for number in range(30)} == {1}


def test_another_size_is_another_picture():
    stillness = FrozenDetector()
    stillness.repeat_count(np.zeros((20, 10, 3), np.uint8))
    assert stillness.repeat_count(np.zeros((10, 20, 3), np.uint8)) == 1
