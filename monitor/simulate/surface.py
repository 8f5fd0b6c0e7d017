"""An endless sequence of simulated surfaces with defects at known places."""

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.imaging.ellipse import Ellipse
from monitor.records import Image
from monitor.simulate.brushed import apply_scratch, random_scratch, render_brushed
from monitor.simulate.defect import apply_defect, random_defect
from monitor.simulate.texture import render_texture

MIN_SIDE = 64
"""Smallest width and height in pixels: below it a defect is smaller than the texture's grain."""


MAX_SIDE = 4096
"""Largest width and height in pixels: the textures are held in memory."""


NOISE = 5.0
"""Standard deviation of the camera noise in grey values, as seen inside the defects of DAGM's Class1."""


SURFACES = {
    "pattern": (render_texture, random_defect, apply_defect),
    "brushed": (render_brushed, random_scratch, apply_scratch),
}
"""By name: how a texture is rendered, where a defect lies, and how it looks."""


# One stream of random numbers per purpose, so that choices are independent: with and without defects the
# surfaces are the same.
_TEXTURES, _NOISE, _VIEW, _TRUTH, _DEFECT = range(5)


class SurfaceGenerator:
    """Renders images 0, 1, 2 ... of a production line; each depends on the settings and its number alone.

    The constructor renders `textures` surfaces, larger than an image; each image shows a part of one, turned
    or mirrored. `defect_rate` is the probability (0..1) that an image is defective. With the same seed, an
    image that is defective at one rate has the same defect at every higher rate. `surface` is one of
    `SURFACES`. Raises UsageError for a setting out of range.
    """

    def __init__(
        self,
        seed: int,
        width: int = 512,
        height: int = 512,
        defect_rate: float = 0.05,
        textures: int = 16,
        *,
        surface: str = "pattern",
    ) -> None:
        if seed < 0:
            raise UsageError(f"the seed must not be negative, it is {seed}")
        if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
            raise UsageError(
                f"simulated images are {MIN_SIDE} to {MAX_SIDE} pixels wide and high, not {width}x{height}"
            )
        if not 0 <= defect_rate <= 1:
            raise UsageError(f"the defect rate is a probability from 0 to 1, not {defect_rate:g}")
        if textures < 1:
            raise UsageError(f"at least one texture is needed, not {textures}")
        if surface not in SURFACES:
            raise UsageError(f"no simulated surface is called {surface}; there are {', '.join(SURFACES)}")
        self.seed = seed
        self.width = width
        self.height = height
        self.defect_rate = defect_rate
        longer = max(width, height)
        side = longer + min(longer // 2, 512)
        render, self._random_defect, self._apply_defect = SURFACES[surface]
        self._textures = [render(side, self._random(_TEXTURES, index)) for index in range(textures)]
        noise = self._random(_NOISE, 0).normal(128, NOISE, (side, side))
        self._noise: NDArray[np.uint8] = np.clip(np.rint(noise), 0, 255).astype(np.uint8)

    def picture(self, number: int) -> Image:
        """Render image `number` (0 or above): (height, width, 3) uint8, three equal channels."""
        random = self._random(_VIEW, number)
        texture = self._textures[random.integers(len(self._textures))]
        grey = self._view(texture.grey, random)
        truth = self.defect_at(number)
        if truth is not None:
            self._apply_defect(grey, truth, texture.grain, self._random(_DEFECT, number))
        gain = random.uniform(0.93, 1.07)
        noisy = cv2.addWeighted(grey, gain, self._view(self._noise, random), 1, -128)
        return np.asarray(cv2.cvtColor(noisy, cv2.COLOR_GRAY2BGR), np.uint8)

    def defect_at(self, number: int) -> Ellipse | None:
        """Return the ellipse around the defect of image `number`, None where it has none. Renders nothing."""
        random = self._random(_TRUTH, number)
        if random.random() >= self.defect_rate:
            return None
        return self._random_defect(self.width, self.height, random)

    def _view(self, surface: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """A part of `surface`, turned and mirrored at random: (height, width), a copy."""
        side = surface.shape[0]
        turned, flip_x, flip_y = random.integers(2, size=3)
        height, width = (self.width, self.height) if turned else (self.height, self.width)
        top = random.integers(side - height + 1)
        left = random.integers(side - width + 1)
        view = surface[top : top + height, left : left + width]
        if turned:
            view = view.T
        return np.array(view[:: 1 - 2 * flip_y, :: 1 - 2 * flip_x], order="C")

    def _random(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, purpose, number))
