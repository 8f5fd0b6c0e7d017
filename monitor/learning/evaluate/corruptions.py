"""Effects of cameras, light and mounting, each to a known degree.

A corruption takes an image (h, w, 3) uint8 and its mask (h, w) bool, or None, and returns both at the same
size. The same image always gives the same result, whatever came before it.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.records import Image

Mask = NDArray[np.bool_]


ImageAndMask = tuple[Image, Mask | None]


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to corrupt an image; `name` is used in the tables."""

    name: str
    apply: Callable[[Image, Mask | None], ImageAndMask]


def jpeg(image: Image, quality: int) -> Image:
    """Encode `image` as JPEG at `quality`, 0..100, and decode it."""
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _uint8(cv2.imdecode(coded, cv2.IMREAD_COLOR))


def noise(image: Image, sigma: float) -> Image:
    """Gaussian noise of `sigma` grey levels, the same in all channels, seeded by the image itself."""
    random = np.random.default_rng(zlib.crc32(image.tobytes()))
    return _clipped(image + random.normal(0, sigma, (*image.shape[:2], 1)))


def blur(image: Image, share: float) -> Image:
    """Blur with a Gaussian whose standard deviation is `share` of the image's shorter side."""
    return _uint8(cv2.GaussianBlur(image, (0, 0), share * min(image.shape[:2])))


def brightness(image: Image, factor: float) -> Image:
    """Multiply every value by `factor`, as longer exposure or more light does."""
    return _clipped(image * np.float32(factor))


def contrast(image: Image, factor: float) -> Image:
    """Multiply every value's distance from the image's mean by `factor`."""
    mean = np.float32(image.mean())
    return _clipped((image - mean) * np.float32(factor) + mean)


def rotate(image: Image, mask: Mask | None, degrees: float) -> ImageAndMask:
    """Turn about the centre, anticlockwise; the mirrored image fills the corners."""
    height, width = image.shape[:2]
    return _warp(image, mask, cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0))


def zoom(image: Image, mask: Mask | None, factor: float) -> ImageAndMask:
    """Show the surface `factor` times as large, at the same image size.

    When it is enlarged, the window moves off the centre as far as the defect needs to stay in view. When it
    is reduced, the mirrored image and mask fill the border.
    """
    height, width = image.shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    at_x, at_y = x, y
    if factor > 1 and mask is not None and mask.any():
        at_x = _window(width, width / factor, np.flatnonzero(mask.any(axis=0)))
        at_y = _window(height, height / factor, np.flatnonzero(mask.any(axis=1)))
    return _warp(image, mask, np.array([[factor, 0, x - factor * at_x], [0, factor, y - factor * at_y]]))


def h264(image: Image, bits_per_pixel: float) -> Image:
    """Encode `image` as one frame of an H.264 stream of constant bit rate, and decode it.

    The frame before it is the image upside down, from which the encoder can copy nothing, as on a line where
    each frame shows another part. Each frame has to fit its part of the bit rate.
    """
    height, width = image.shape[:2]
    # 4:2:0 needs even sides, and at least one macroblock.
    down, right = max(16, height + height % 2) - height, max(16, width + width % 2) - width
    padded = _uint8(cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE))
    rate, fps = int(bits_per_pixel * padded[..., 0].size * 15), 15
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = padded.shape[1], padded.shape[0], "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, fps), Fraction(fps)
    encoder.bit_rate, encoder.thread_count = rate, 1
    encoder.options = {
        "preset": "veryfast",
        "tune": "zerolatency",
        "maxrate": str(rate),
        "bufsize": str(rate // fps),
    }
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = []
    for number, shown in enumerate((np.ascontiguousarray(padded[::-1, ::-1]), padded)):
        frame = av.VideoFrame.from_ndarray(shown, format="bgr24")
        frame.pts = number
        for packet in encoder.encode(frame):
            frames += decoder.decode(packet)
    frames += decoder.decode(None)
    return np.ascontiguousarray(frames[-1].to_ndarray(format="bgr24")[:height, :width])


def _image_only(
    change: Callable[[Image, float], Image], degree: float
) -> Callable[[Image, Mask | None], ImageAndMask]:
    return lambda image, mask: (change(image, degree), mask)


def _both(
    change: Callable[[Image, Mask | None, float], ImageAndMask], degree: float
) -> Callable[[Image, Mask | None], ImageAndMask]:
    return lambda image, mask: change(image, mask, degree)


CORRUPTIONS = (
    Corruption("JPEG quality 50", lambda image, mask: (jpeg(image, 50), mask)),
    Corruption("JPEG quality 30", lambda image, mask: (jpeg(image, 30), mask)),
    Corruption("noise, σ 8 of 255", _image_only(noise, 8)),
    Corruption("blur, σ 0.2 % of the side", _image_only(blur, 0.002)),
    Corruption("blur, σ 0.4 % of the side", _image_only(blur, 0.004)),
    Corruption("brightness -20 %", _image_only(brightness, 0.8)),
    Corruption("brightness +20 %", _image_only(brightness, 1.2)),
    Corruption("contrast -20 %", _image_only(contrast, 0.8)),
    Corruption("contrast +20 %", _image_only(contrast, 1.2)),
    Corruption("scale 0.8", _both(zoom, 0.8)),
    Corruption("scale 1.25", _both(zoom, 1.25)),
    Corruption("rotation 5°", _both(rotate, 5)),
    # 4 Mbit/s at 512x512 and 15 frames per second.
    Corruption("H.264, 1 bit a pixel", _image_only(h264, 1.0)),
    # Beyond what training shows (`learning/train/augment.py`).
    Corruption("JPEG quality 10 (beyond training)", lambda image, mask: (jpeg(image, 10), mask)),
    Corruption("noise, σ 20 of 255 (beyond training)", _image_only(noise, 20)),
    Corruption("blur, σ 0.8 % of the side (beyond training)", _image_only(blur, 0.008)),
    Corruption("brightness -45 % (beyond training)", _image_only(brightness, 0.55)),
    Corruption("contrast -45 % (beyond training)", _image_only(contrast, 0.55)),
    Corruption("rotation 20° (beyond training)", _both(rotate, 20)),
    Corruption("H.264, 0.3 bits a pixel (beyond training)", _image_only(h264, 0.3)),
)
"""The rows of the robustness table."""


def _window(size: int, seen: float, defect: NDArray[np.intp]) -> float:
    """Where to centre `seen` of `size` pixels: as near to the middle as the defect's extent allows."""
    lowest, highest = defect[-1] + 1 - seen / 2, defect[0] - 1 + seen / 2
    centre = min(max((size - 1) / 2, lowest), highest) if lowest <= highest else (defect[0] + defect[-1]) / 2
    return float(min(max(centre, (seen - 1) / 2), size - (seen + 1) / 2))


def _warp(image: Image, mask: Mask | None, matrix: ArrayLike) -> ImageAndMask:
    size = (image.shape[1], image.shape[0])
    mirror, matrix = cv2.BORDER_REFLECT_101, np.asarray(matrix, float)
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mirror)
    if mask is None:
        return _uint8(moved), None
    moved_mask = cv2.warpAffine(
        mask.astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST, borderMode=mirror
    )
    return _uint8(moved), moved_mask.astype(bool)


def _clipped(values: NDArray[np.floating]) -> Image:
    return _uint8(np.clip(np.rint(values), 0, 255))


def _uint8(image: Any) -> Image:
    return np.asarray(image, np.uint8)
