"""Surfaces without defects: interference patterns of chirps, mirrored about two axes, in the manner of DAGM.

A texture is the magnitude of a complex field. The field is a sum of separable chirps,
`field[y, x] = sum over k of down[y, k] * across[k, x]`, so that one matrix product renders it, however many
chirps there are. Most chirps are mirrored (`f(x) + f(-x)`), which makes the crosses, diamonds and rings; a few
are not, which makes the brighter corners. Where chirps run faster than the pixel grid they fold back, as in the
original images, and make the finest grain.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MEAN = 70.0
"""Mean grey value of a texture, as of DAGM's Class1 (64..76)."""

FLOOR = 12.0
"""Grey value where the field is zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """A piece of surface: `grey` is (side, side) uint8; `grain` is the mean size of its spots in pixels."""

    grey: NDArray[np.uint8]
    grain: float


def render_texture(side: int, random: np.random.Generator) -> Texture:
    """One texture of side×side pixels; `random` chooses spacing, symmetry, lobes and contrast."""
    # Most surfaces are fine-grained and some coarse, as in the original.
    fastest = 0.5 * float(random.choice([1.0, 0.8, 0.6, 0.35, 0.2], p=[0.35, 0.25, 0.2, 0.12, 0.08]))
    field = _mirrored(side, fastest, random) + _lopsided(side, fastest, random)
    magnitude = np.abs(field)  # (side, side)
    local = cv2.GaussianBlur(magnitude, (0, 0), side / 40) + 1e-6
    magnitude /= local ** random.uniform(0.5, 0.8)  # dark places keep some texture
    grey = FLOOR + (MEAN - FLOOR) * magnitude / magnitude.mean()
    return Texture(np.clip(np.rint(grey), 0, 255).astype(np.uint8), grain=0.5 / fastest)


def _mirrored(side: int, fastest: float, random: np.random.Generator) -> NDArray[np.complex64]:
    """Chirps that are their own mirror image about both axes of the texture: (side, side)."""
    count = int(random.integers(4, 16))
    across = _chirps(side, count, fastest, random)
    down = _chirps(side, count, fastest, random)
    return ((down + down[:, ::-1]).T @ (across + across[:, ::-1])).astype(np.complex64)


def _lopsided(side: int, fastest: float, random: np.random.Generator) -> NDArray[np.complex64]:
    """Weaker chirps without symmetry: (side, side)."""
    count = int(random.integers(2, 6))
    weight = random.uniform(0.5, 1.5)
    product = _chirps(side, count, fastest, random).T @ _chirps(side, count, fastest, random)
    return (weight * product).astype(np.complex64)


def _chirps(side: int, count: int, fastest: float, random: np.random.Generator) -> NDArray[np.complex64]:
    """`count` chirps below smooth envelopes: (count, side).

    The frequency in cycles a pixel runs linearly along the side, from `start` by `sweep`; phase is its integral.
    """
    place = np.linspace(-1, 1, side)[None, :]  # (1, side)
    start = random.uniform(-0.5, 0.5, (count, 1)) * fastest
    sweep = random.uniform(-1, 1, (count, 1)) * fastest
    phase = np.pi * side * (start * place + sweep * place**2 / 2) + random.uniform(0, 2 * np.pi, (count, 1))
    center = random.uniform(-1, 1, (count, 1))
    spread = random.uniform(0.25, 1.5, (count, 1))
    envelope = np.exp(-(((place - center) / spread) ** 2))
    return (envelope * np.exp(1j * phase)).astype(np.complex64)
