"""Another surface and another defect: brushed metal with dark scratches, for lines whose product changes."""

from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.imaging.ellipse import Ellipse
from monitor.simulate.texture import Texture

MEAN = 112.0
"""Mean grey value of the metal."""

STRENGTH = 11.0
"""Standard deviation of the brush marks in grey values."""

HALF_WIDTH = 10.0
"""Half the width of the label around a scratch, in pixels of an image of 512x512."""


def render_brushed(side: int, random: np.random.Generator) -> Texture:
    """Render a texture of side×side pixels: brush marks along the rows, and soft shading."""
    noise = random.normal(0, 1, (side, side)).astype(np.float32)
    marks = cv2.GaussianBlur(noise, (0, 0), sigmaX=random.uniform(25, 60), sigmaY=0.7)
    shading = cv2.resize(
        random.normal(0, 1, (4, 4)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    grey = MEAN + STRENGTH * marks / marks.std() + 4 * shading
    return Texture(np.clip(np.rint(grey), 0, 255).astype(np.uint8), grain=1.0)


def random_scratch(width: int, height: int, random: np.random.Generator) -> Ellipse:
    """Draw the narrow ellipse around a scratch; all of the scratch lies in the image."""
    scale = min(width, height) / 512
    semi_major = scale * random.uniform(45, 110)
    return Ellipse(
        center_x=random.uniform(semi_major, width - 1 - semi_major),
        center_y=random.uniform(semi_major, height - 1 - semi_major),
        semi_major=semi_major,
        semi_minor=HALF_WIDTH * scale,
        angle=random.uniform(0, pi),
    )


def apply_scratch(
    grey: NDArray[np.uint8], ellipse: Ellipse, grain: float, random: np.random.Generator
) -> None:
    """Darken `grey` (h, w) in place along a slightly bent line inside the ellipse; nothing changes outside.

    `grain` has no influence: the marks of all textures are equally fine.
    """
    scale = ellipse.semi_minor / HALF_WIDTH
    along = np.linspace(-0.9, 0.9, 24) * ellipse.semi_major
    across = random.uniform(-0.5, 0.5) * ellipse.semi_minor * (1 - 2 * (along / ellipse.semi_major) ** 2)
    x = ellipse.center_x + along * cos(ellipse.angle) - across * sin(ellipse.angle)
    y = ellipse.center_y + along * sin(ellipse.angle) + across * cos(ellipse.angle)
    line = np.zeros(grey.shape, np.uint8)
    points = np.rint(np.stack([x, y], axis=1) * 16).astype(np.int32)
    thickness = max(1, round(random.uniform(4, 8) * scale))
    cv2.polylines(
        line, [points], isClosed=False, color=255, thickness=thickness, lineType=cv2.LINE_AA, shift=4
    )
    soft = cv2.GaussianBlur(line, (0, 0), 0.8).astype(np.float32) / 255
    height, width = grey.shape
    u, v = ellipse.to_local(np.arange(width, dtype=float)[None, :], np.arange(height, dtype=float)[:, None])
    soft *= np.clip((1 - np.hypot(u, v)) / 0.15, 0, 1)
    darker = grey - random.uniform(35, 60) * soft
    np.copyto(grey, np.clip(np.rint(darker), 0, 255).astype(np.uint8))
