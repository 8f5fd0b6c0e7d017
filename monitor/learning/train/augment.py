"""Random changes as cameras, light and mounting make them, so that the network learns to ignore them.

Geometry moves image and mask together. The rest changes the image only, in the order of a camera: optics,
sensor, coding.
"""

from functools import cache
from statistics import NormalDist
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.learning.evaluate.corruptions import blur, brightness, contrast, h264, jpeg, rotate, zoom
from monitor.records import Image

Mask = NDArray[np.bool_]


Random = np.random.Generator


Pixels = TypeVar("Pixels", Image, Mask)


MIN_VISIBLE = 0.9
"""Lowest fraction of a defect's pixels that must stay in view for the label to remain true."""


def augment(image: Image, mask: Mask | None, random: Random) -> tuple[Image, Mask | None]:
    """Return a changed copy of `image` (h, w, 3) uint8 and `mask` (h, w) bool, of the same size.

    Only square images are turned by 90 degrees. Without a mask (None) a defect may lie anywhere, so the image
    is not enlarged.
    """
    image, mask = _flip(image, mask, random)
    image, mask = _warp(image, mask, random)
    return _camera_effects(image, random), mask


def corrupt(image: Image, mask: Mask | None, random: Random) -> tuple[Image, Mask | None]:
    """Return `image` and `mask` as `augment` does, changed in one way, as far as `evaluate` tries or more."""
    image, mask = _flip(image, mask, random)
    kind, step = int(random.integers(8)), float(random.uniform(-1, 1))
    match kind:
        case 0:
            image = jpeg(image, round(35 + 27 * step))
        case 1:
            image = _noisy(image, sigma=14 + 10 * step, random=random)
        case 2:
            image = blur(image, 0.0055 + 0.0045 * step)
        case 3:
            image = brightness(image, 2.0**step)
        case 4:
            image = contrast(image, 2.0**step)
        case 5:
            image, mask = rotate(image, mask, 25 * step)
        case 6:
            image, mask = zoom(image, mask, 1.3 ** (step if mask is not None else -abs(step)))
        case 7:
            image = h264(image, bits_per_pixel=0.75 * 3.0**step)
    return image, mask


def cutout(
    image: Image, mask: Mask, colour: tuple[float, float, float], random: Random
) -> tuple[Image, Mask]:
    """Show one region of `image` (h, w, 3), fading into `colour`; return it with the visible `mask` (h, w).

    This trains the network on inputs like the masked ones of Score-CAM, which it would otherwise score at
    random. Of a defective image the region shows either the defect, or a place without it, which is good.
    """
    height, width = mask.shape
    side = min(height, width)
    if mask.any() and random.random() < 0.5:
        shown = mask.astype(np.float32)
        visible = mask
    else:
        shown = np.zeros((height, width), np.float32)
        axes = random.uniform(0.06, 0.25, 2) * side
        centre = random.uniform(0, 1, 2) * (width, height)
        angle = float(random.uniform(0, 180))
        cv2.ellipse(shown, (centre.tolist(), (2 * axes).tolist(), angle), 1.0, -1)
        visible = np.zeros_like(mask)
    shown = _faded(shown, side * random.uniform(0.01, 0.05))
    if mask.any() and visible is not mask:
        shown *= 1 - np.minimum(2 * _faded(mask.astype(np.float32), side * 0.02), 1)
    weight = shown[..., None]
    return _uint8(np.rint(image * weight + np.asarray(colour, np.float32) * (1 - weight))), visible


def _faded(shape: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    soft = np.asarray(cv2.GaussianBlur(shape, (0, 0), sigma), np.float32)
    return soft / max(float(soft.max()), 1e-6)


def _flip(image: Image, mask: Mask | None, random: Random) -> tuple[Image, Mask | None]:
    square = image.shape[0] == image.shape[1]
    turns = int(random.integers(4)) if square else 2 * int(random.integers(2))
    mirrored = random.random() < 0.5

    return turn(image, turns, mirrored), None if mask is None else turn(mask, turns, mirrored)


def turn(pixels: Pixels, turns: int, mirrored: bool) -> Pixels:
    """Return `pixels` (h, w, ...) turned by 90 degrees `turns` times, then mirrored if so."""
    turned = np.rot90(pixels, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned, pixels.dtype)


def _warp(image: Image, mask: Mask | None, random: Random) -> tuple[Image, Mask | None]:
    """Rotate by up to 10°, scale by 0.8..1.25 and shift a little; the image mirrored fills the border."""
    height, width = image.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    largest = 1.25 if mask is not None else 1.0
    for _ in range(4):
        scale = float(np.exp(random.uniform(np.log(0.8), np.log(largest))))
        matrix = np.asarray(cv2.getRotationMatrix2D(centre, random.uniform(-10, 10), scale), np.float64)
        slack = 0.05 + max(0.0, scale - 1) / 2
        matrix[:, 2] += random.uniform(-slack, slack, 2) * np.array([width, height])
        moved = None if mask is None else _warped_mask(mask, matrix)
        if mask is None or moved is None or moved.sum() >= MIN_VISIBLE * scale**2 * mask.sum():
            warped = cv2.warpAffine(
                image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
            )
            return np.asarray(warped, np.uint8), moved
    return image, mask


def _warped_mask(mask: Mask, matrix: NDArray[np.float64]) -> Mask:
    if not mask.any():
        return mask
    size = (mask.shape[1], mask.shape[0])
    # Mirrored like the image: a mirrored defect is a defect.
    warped = cv2.warpAffine(
        mask.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(warped > 0)


def _camera_effects(image: Image, random: Random) -> Image:
    side = min(image.shape[:2])
    if random.random() < 0.35:
        image = _uint8(cv2.GaussianBlur(image, (0, 0), max(0.3, random.uniform(0.001, 0.005) * side)))
    if random.random() < 0.8:
        image = _exposed(image, brightness=random.uniform(0.7, 1.35), contrast=random.uniform(0.7, 1.35))
    if random.random() < 0.4:
        image = _noisy(image, sigma=random.uniform(2, 14), random=random)
    coding = random.random()
    if coding < 0.25:
        image = jpeg(image, quality=int(random.integers(20, 95)))
    elif coding < 0.5:
        # What an encoder at a low bit rate leaves out looks much like a smooth defect.
        image = h264(image, bits_per_pixel=float(np.exp(random.uniform(np.log(0.6), np.log(3)))))
    return image


def _exposed(image: Image, brightness: float, contrast: float) -> Image:
    mean = cv2.mean(image)[0]
    values = np.arange(256, dtype=np.float32)
    curve = np.clip(((values - mean) * contrast + mean) * brightness, 0, 255)
    return _uint8(cv2.LUT(image, np.rint(curve).astype(np.uint8)))


def _noisy(image: Image, sigma: float, random: Random) -> Image:
    # A table of the normal distribution, indexed by random bytes: ten times as fast as drawing it.
    grains = np.rint(sigma * _normal_quantiles()).astype(np.int16)
    height, width = image.shape[:2]
    noise = grains[np.frombuffer(random.bytes(height * width), np.uint8)].reshape(height, width, 1)
    return _uint8(np.clip(image + noise, 0, 255))


def _uint8(pixels: object) -> Image:
    return np.asarray(pixels, np.uint8)


@cache
def _normal_quantiles() -> NDArray[np.float64]:
    """Return 256 equally likely quantiles of the normal distribution, of unit variance."""
    quantiles = np.array([NormalDist().inv_cdf((index + 0.5) / 256) for index in range(256)])
    return np.asarray(quantiles / quantiles.std(), np.float64)
