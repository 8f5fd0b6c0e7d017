"""Surfaces without defects: interference patterns of chirps, mirrored about two axes, similar to DAGM.

A texture is the magnitude of a complex field, the sum of waves whose frequency changes along each axis. A
wave is the product of a factor of the row and a factor of the column, so that one matrix product renders all:
`field[y, x] = sum over k of down[k, y] * across[k, x]`. Waves come in groups of nearly equal frequency.
Groups against each other make the fine grain; within a group they beat slowly, which makes the broad bands,
rings and diamonds. Most waves are mirrored about the texture's two middle axes; a few are not, which makes
one side or corner differ. Where waves run faster than the pixel grid they fold back, as in the original.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MEAN = 67.0
"""Mean grey value of a texture; images then vary around 70 as in DAGM's Class1 (64..76)."""


FLOOR = 16.0
"""Grey value where the field is zero."""


MIN_CONTRAST = 12.0
"""Lowest standard deviation of the fine texture (against a blur of 3 pixels) anywhere, as in Class1."""


SPEEDS = ((0.6, 0.5), (0.5, 0.22), (0.35, 0.14), (0.2, 0.09), (0.13, 0.05))
"""(highest frequency of a wave in cycles per pixel, fraction of textures): most are fine, some coarse."""


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """A piece of surface: `grey` is (side, side) uint8; `grain` is the size of its spots in pixels."""

    grey: NDArray[np.uint8]
    grain: float


def render_texture(side: int, random: np.random.Generator) -> Texture:
    """Render a texture of side×side pixels; `random` chooses grain, bands, symmetry and contrast."""
    speeds, fractions = zip(*SPEEDS, strict=True)
    speed = float(random.choice(speeds, p=fractions))
    across, down = _waves(side, int(random.integers(6, 13)), speed, 1.0, random)
    field = _mirrored(down, random).T @ _mirrored(across, random)  # (side, side)
    across, down = _waves(side, int(random.integers(1, 3)), speed, 0.4, random)
    field += random.uniform(0.8, 2) * (down.T @ across)
    magnitude = np.abs(field)
    local = cv2.GaussianBlur(magnitude, (0, 0), side / 30)
    local /= local.mean()
    magnitude /= np.maximum(local, 0.02) ** random.uniform(0, 0.3)
    grey = FLOOR + (MEAN - FLOOR) * magnitude / magnitude.mean()
    # Regions of weak texture would look like defects: their texture is amplified.
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 3)
    strength = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6))
    grey += fine * np.maximum(MIN_CONTRAST / np.maximum(strength, 1) - 1, 0)
    return Texture(np.clip(np.rint(grey), 0, 255).astype(np.uint8), grain=max(1.0, 0.5 / speed))


def _mirrored(factors: NDArray[np.complex64], random: np.random.Generator) -> NDArray[np.complex64]:
    """Add to each factor its mirror image, slightly weaker, to avoid a grid of black lines."""
    weights = random.uniform(0.6, 1, (len(factors), 1)).astype(np.float32)
    return factors + weights * factors[:, ::-1]  # (waves, side)


def _waves(
    side: int, groups: int, speed: float, breadth: float, random: np.random.Generator
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """The factors of the waves: across the columns and down the rows, each (waves, side).

    At place p of an axis that runs from -1 to 1 a wave has the phase 2π·(tone·p + bend·p²/2), in cycles per
    half side, below a Gaussian envelope some `breadth` wide. `speed` is in cycles per pixel.
    """
    half = side / 2
    tones, bends, centers, spreads = [], [], [], []
    for _ in range(groups):
        pitch = speed * half * np.sqrt(random.uniform(0.2, 1))  # cycles per half side
        direction = (random.integers(4) + random.uniform(0.1, 0.9)) * np.pi / 2  # not along an axis
        tone = pitch * np.array([np.cos(direction), np.sin(direction)])
        bend = speed * half * random.uniform(-0.7, 0.7) * np.array([1, random.choice([-1, 1])])
        bend *= random.uniform(0.6, 1, 2)
        center, spread = random.uniform(-1, 1, 2), breadth * random.uniform(0.3, 1.1, 2)
        for _ in range(int(random.integers(1, 3))):
            tones.append(tone + random.normal(0, 4, 2))
            bends.append(bend + random.normal(0, 8, 2))
            centers.append(center + random.normal(0, 0.2, 2))
            spreads.append(spread)
    place = np.linspace(-1, 1, side)[None, None, :]  # (1, 1, side)
    tone_, bend_, center_, spread_ = (
        np.array(values).T[:, :, None] for values in (tones, bends, centers, spreads)
    )
    turns = tone_ * place + bend_ * place**2 / 2  # (2, waves, side)
    turns += random.uniform(0, 1, turns.shape[:2])[:, :, None]
    envelope = np.exp(-(((place - center_) / spread_) ** 2))
    across, down = (envelope * np.exp(2j * np.pi * turns)).astype(np.complex64)
    return across, down
