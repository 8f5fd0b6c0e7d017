"""Pictures spoiled on purpose, as cameras, cables and decoders spoil them; each fault at random strength."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from monitor.capture.image_checks import QualityLimits
from monitor.imaging.files import read_image
from monitor.records import Image
from monitor.settings.camera import SanitySettings

LIMITS = QualityLimits(**SanitySettings().model_dump(exclude={"enabled"}))

Random = np.random.Generator


def noisy(image: np.ndarray, sigma: float, random: Random) -> Image:
    noise = random.normal(0, sigma, (*image.shape[:2], 1))
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def black(image: Image, random: Random) -> Image:
    """A closed lens: dark current and noise."""
    return noisy(np.full_like(image, random.integers(0, 8)), random.uniform(0, 3), random)


def white(image: Image, random: Random) -> Image:
    return noisy(np.full_like(image, random.integers(245, 256)), random.uniform(0, 3), random)


def uniform(image: Image, random: Random) -> Image:
    """A covered lens, a lost signal."""
    return noisy(np.full_like(image, random.integers(30, 220)), random.uniform(0, 1.5), random)


def saturated(image: Image, random: Random) -> Image:
    """So much light that 80 to 95 % of the surface clips."""
    clipped = np.percentile(image[..., 1], 100 * (1 - random.uniform(0.8, 0.95)))
    return np.clip(image * (256 / max(clipped, 1)), 0, 255).astype(np.uint8)


def blurred(image: Image, random: Random) -> Image:
    """Out of focus by a standard deviation of 8 to 16 pixels of 512, with the noise of a good sensor."""
    scale = max(1, min(image.shape[:2]) // 512)
    soft = cv2.GaussianBlur(image, (0, 0), scale * random.uniform(8, 16))
    return noisy(soft, random.uniform(0, 2), random)


def half_grey(image: Image, random: Random) -> Image:
    """Data lost from somewhere on: the rest, a sixth or more, is grey, from the middle of a row."""
    spoiled = image.copy()
    top, left = int(random.uniform(0.125, 0.83) * image.shape[0]), random.integers(image.shape[1])
    spoiled[top:, left:] = 128
    spoiled[top + 16 :] = 128
    return spoiled


def drawn_down(image: Image, random: Random) -> Image:
    """Data lost from somewhere on: the last row is repeated over a sixth of the picture or more."""
    spoiled = image.copy()
    top = int(random.uniform(0.125, 0.83) * image.shape[0])
    spoiled[top:] = spoiled[top - 1]
    return spoiled


def torn(image: Image, random: Random) -> Image:
    """From somewhere on the picture is moved sideways by 16 pixels or more."""
    spoiled = image.copy()
    top = int(random.uniform(0.125, 0.83) * image.shape[0])
    spoiled[top:] = np.roll(spoiled[top:], random.integers(16, image.shape[1] - 16), axis=1)
    return spoiled


FAULTS: dict[str, Callable[[Image, Random], Image]] = {
    "black": black,
    "white": white,
    "uniform": uniform,
    "saturated": saturated,
    "blurred": blurred,
    "smeared: half grey": half_grey,
    "smeared: a row drawn down": drawn_down,
    "torn": torn,
}
"""By the reason for which they must be refused, up to the colon."""


HIDDEN_BY_GRAIN = {"torn"}  # rows of fine grain have nothing in common, torn or not


def dagm_pictures(root: Path, every: int) -> list[Image]:
    files = sorted((root / "Class1").glob("T*/*.PNG"))
    return [read_image(path) for path in files[::every]]


def tile_pictures(root: Path, every: int) -> list[Image]:
    """Photographs of magnetic tiles, which lie beside DAGM; ground by brushes, with and without defects."""
    files = sorted((root.parent / "magnetic-tile").glob("MT_*/Imgs/*.jpg"))
    if not files:
        pytest.skip(f"the magnetic tiles are not on this machine: {root.parent}/magnetic-tile is missing")
    return [read_image(path) for path in files[::every]]
