"""Where cells look is found again from heat over known places."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import DataError
from monitor.locate.offset import measured_offset


def sighting(offset: tuple[float, float], centre: tuple[float, float], spread: float = 20.0):
    """Heat (20, 28) of an input of 160x224 pixels, cell (0, 0) looking at `offset`."""
    xs, ys = 8 * np.arange(28) + offset[0], 8 * np.arange(20)[:, None] + offset[1]
    heat = np.exp(-((xs - centre[0]) ** 2 + (ys - centre[1]) ** 2) / (2 * spread**2))
    return (heat / heat.max()).astype(np.float32), centre


offsets = st.tuples(st.floats(-4, 8), st.floats(-4, 8))
centres = st.tuples(st.floats(60, 160), st.floats(60, 100))


@given(offsets, st.lists(centres, min_size=5, max_size=9))
def test_the_offset_that_made_the_heat_is_found_again(offset, places):
    found = measured_offset([sighting(offset, place) for place in places], input_size=(160, 224))
    assert found == pytest.approx(offset, abs=0.5)


def test_a_picture_whose_heat_is_elsewhere_or_missing_does_not_move_it():
    good = [sighting((3.5, 2.0), (100.0, 60.0 + place)) for place in range(0, 40, 8)]
    astray = (sighting((3.5, 2.0), (30.0, 30.0))[0], (190.0, 120.0))
    empty = (np.zeros((20, 28), np.float32), (100.0, 100.0))
    found = measured_offset([*good, astray, empty], input_size=(160, 224))
    assert found == pytest.approx((3.5, 2.0), abs=0.5)


def test_without_any_heat_there_is_no_answer():
    with pytest.raises(DataError, match="where the cells look is unknown"):
        measured_offset([(np.zeros((20, 28), np.float32), (5.0, 5.0))], input_size=(160, 224))
