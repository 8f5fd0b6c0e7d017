"""The ellipse: its mask and its box agree with the definition and with each other."""

from math import cos, pi, sin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import UsageError
from monitor.imaging.ellipse import Ellipse

HEIGHT, WIDTH = 60, 80


ellipses = st.builds(
    Ellipse,
    center_x=st.floats(-40, WIDTH + 40),
    center_y=st.floats(-40, HEIGHT + 40),
    semi_major=st.floats(0.2, 70),
    semi_minor=st.floats(0.2, 70),
    angle=st.floats(-10, 10),
)


@given(ellipses)
def test_box_is_the_tightest_around_the_mask_also_where_the_border_cuts_it(ellipse: Ellipse) -> None:
    rows, columns = np.nonzero(ellipse.mask(HEIGHT, WIDTH))
    box = ellipse.box(WIDTH, HEIGHT)
    if rows.size == 0:
        assert box.area == 0
    else:
        assert (box.left, box.top) == (columns.min(), rows.min())
        assert (box.right, box.bottom) == (columns.max() + 1, rows.max() + 1)


@given(ellipses)
def test_mask_holds_the_points_whose_two_focal_distances_sum_to_the_long_axis(ellipse: Ellipse) -> None:
    long, short = sorted((ellipse.semi_major, ellipse.semi_minor), reverse=True)
    angle = ellipse.angle + (0 if ellipse.semi_major >= ellipse.semi_minor else pi / 2)
    focus = (long**2 - short**2) ** 0.5 * np.array([cos(angle), sin(angle)])
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    to_one = np.hypot(x - ellipse.center_x - focus[0], y - ellipse.center_y - focus[1])
    to_other = np.hypot(x - ellipse.center_x + focus[0], y - ellipse.center_y + focus[1])
    slack = to_one + to_other - 2 * long
    mask = ellipse.mask(HEIGHT, WIDTH)
    assert mask[slack < -1e-6].all()
    assert not mask[slack > 1e-6].any()


@given(ellipses)
def test_a_larger_picture_shows_the_same_mask(ellipse: Ellipse) -> None:
    larger = ellipse.mask(HEIGHT + 30, WIDTH + 30)
    assert (larger[:HEIGHT, :WIDTH] == ellipse.mask(HEIGHT, WIDTH)).all()


def test_angle_turns_from_x_towards_y_pointing_down() -> None:
    mask = Ellipse(40, 30, 20, 2, pi / 4).mask(HEIGHT, WIDTH)
    assert mask[40, 50]
    assert not mask[20, 50]


def test_area_is_that_of_the_formula() -> None:
    assert Ellipse(255.3, 254.8, 60, 41, 0.7).mask(512, 512).sum() == pytest.approx(pi * 60 * 41, rel=0.005)


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (-3, 2), (float("nan"), 1)])
def test_axes_that_are_not_above_zero_are_refused(axes: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="above zero"):
        Ellipse(0, 0, *axes, 0)
