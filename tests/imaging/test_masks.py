"""Masks: what is not black is marked, and what is no mask is refused."""

import base64

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from monitor.errors import ImageError
from monitor.events.labels import png_size
from monitor.imaging.masks import encode_mask


def png(pixels: NDArray[np.integer]) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


SHADES = st.sampled_from([0, 0, 1, 255])
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, (*shape, 3), elements=SHADES)))
def test_every_pixel_that_is_not_black_is_marked(pixels: NDArray[np.uint8]) -> None:
    if not pixels.any():
        pixels[0, 0, 2] = 1
    mask = encode_mask(png(pixels))
    assert png_size(mask) == pixels.shape[1::-1]
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(mask), np.uint8), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(decoded, pixels.any(axis=2) * 255)


def test_labels_of_16_bits_are_marked_and_transparency_is_not() -> None:
    numbered = np.zeros((9, 9), np.uint16)
    numbered[2, 3] = 1
    opaque = np.zeros((9, 9, 4), np.uint8)
    opaque[..., 3] = 255
    opaque[2, 3, 0] = 1
    assert encode_mask(png(numbered)) == encode_mask(png(opaque))


def test_a_mask_of_a_large_frame_is_small() -> None:
    painted = cv2.circle(np.zeros((3000, 4000), np.uint8), (2000, 1500), 700, 255, -1)
    assert len(encode_mask(png(painted))) < 20_000


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not an image"),
        (b"GIF89a", "not an image"),
        (png(np.full((400, 400), 7, np.uint8))[:60], "not an image"),
        (png(np.zeros((9, 9, 3), np.uint8)), "every pixel is black"),
    ],
)
def test_what_is_no_mask_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        encode_mask(data)
