"""The ellipse that marks a simulated defect."""

from dataclasses import dataclass
from math import ceil, cos, floor, hypot, sin

import numpy as np
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.records import Box


@dataclass(frozen=True, slots=True)
class Ellipse:
    """A filled ellipse in pixels; pixel centres lie at whole numbers, y points down.

    `angle` is in radians, from the x axis towards the y axis (clockwise as seen), and gives the direction of
    `semi_major`. Raises UsageError unless both semi-axes are above zero.
    """

    center_x: float
    center_y: float
    semi_major: float
    semi_minor: float
    angle: float

    def __post_init__(self) -> None:
        if not (self.semi_major > 0 and self.semi_minor > 0):
            raise UsageError(
                f"an ellipse needs semi-axes above zero, not {self.semi_major:g} and {self.semi_minor:g}"
            )

    def radius(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance from the centre in units of the ellipse: 0 at the centre, 1 on the outline."""
        along, across = self.to_local(x, y)
        return np.hypot(along, across)

    def to_local(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coordinates along and across the ellipse, each in units of its semi-axis."""
        right, down = x - self.center_x, y - self.center_y
        along = (right * cos(self.angle) + down * sin(self.angle)) / self.semi_major
        across = (down * cos(self.angle) - right * sin(self.angle)) / self.semi_minor
        return along, across

    def mask(self, height: int, width: int) -> NDArray[np.bool_]:
        """Mark which pixel centres of an image lie inside or on the outline: (height, width) bool."""
        inside = np.zeros((height, width), bool)
        window = self._window(width, height)
        x = np.arange(window.left, window.right, dtype=float)[None, :]
        y = np.arange(window.top, window.bottom, dtype=float)[:, None]
        window.of(inside)[:] = self.radius(x, y) <= 1
        return inside

    def box(self, width: int, height: int) -> Box:
        """Return the smallest box around the pixels of the mask, clipped at the image's border.

        Where no pixel centre lies inside, the box is empty: all zero.
        """
        window = self._window(width, height)
        x = np.arange(window.left, window.right, dtype=float)[None, :]
        y = np.arange(window.top, window.bottom, dtype=float)[:, None]
        rows, columns = np.nonzero(self.radius(x, y) <= 1)
        if not rows.size:
            return Box(0, 0, 0, 0)
        return Box(
            left=window.left + int(columns.min()),
            top=window.top + int(rows.min()),
            right=window.left + int(columns.max()) + 1,
            bottom=window.top + int(rows.max()) + 1,
        )

    def _window(self, width: int, height: int) -> Box:
        """Return a box that holds every pixel of the mask: the half extents, rounded outwards."""
        reach_x = hypot(self.semi_major * cos(self.angle), self.semi_minor * sin(self.angle))
        reach_y = hypot(self.semi_major * sin(self.angle), self.semi_minor * cos(self.angle))
        left = min(max(floor(self.center_x - reach_x), 0), width)
        top = min(max(floor(self.center_y - reach_y), 0), height)
        right = min(max(ceil(self.center_x + reach_x) + 1, left), width)
        bottom = min(max(ceil(self.center_y + reach_y) + 1, top), height)
        return Box(left, top, right, bottom)
