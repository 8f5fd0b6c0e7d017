"""One picture from one file, whatever is in it."""

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.errors import ImageError
from monitor.imaging.files import MIN_SIDE, read_image

GREY = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)


COLOUR = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)


def write(path: Path, image: np.ndarray, *options: int) -> Path:
    assert cv2.imwrite(str(path), image, options)
    return path


def test_colour_comes_as_it_was_written(tmp_path: Path):
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", COLOUR)), COLOUR)


def test_grey_becomes_three_equal_channels(tmp_path: Path):
    for name in ("a.png", "a.bmp", "a.tiff", "a.pgm"):
        np.testing.assert_array_equal(read_image(write(tmp_path / name, GREY)), np.dstack([GREY] * 3))


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path):
    wide = np.random.default_rng(2).integers(0, 65536, (16, 16), np.uint16)
    wide[0, :3] = 0, 65535, 257 * 100
    for name in ("a.png", "a.tiff"):
        got = read_image(write(tmp_path / name, wide))
        assert got.dtype == np.uint8
        assert tuple(got[0, :3, 0]) == (0, 255, 100)
        np.testing.assert_allclose(got[..., 1], wide / 257, atol=0.501)


def test_transparency_is_dropped(tmp_path: Path):
    clear = np.dstack([COLOUR, GREY])
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", clear)), COLOUR)


def test_one_bit_is_black_and_white(tmp_path: Path):
    mask = np.where(GREY > 127, 255, 0).astype(np.uint8)
    got = read_image(write(tmp_path / "a.png", mask, cv2.IMWRITE_PNG_BILEVEL, 1))
    np.testing.assert_array_equal(got, np.dstack([mask] * 3))


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".webp", ".tiff"])
def test_half_a_file_is_refused(tmp_path: Path, ending: str):
    large = cv2.resize(COLOUR, (640, 480), interpolation=cv2.INTER_CUBIC)
    data = write(tmp_path / f"whole{ending}", large).read_bytes()
    path = tmp_path / f"half{ending}"
    for length in (len(data) // 2, len(data) * 9 // 10):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError, match="half"):
            read_image(path)


def test_what_is_no_picture_is_refused_in_one_sentence_that_names_the_file(tmp_path: Path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "folder.png").mkdir()
    write(tmp_path / "dot.png", GREY[:1, :1])
    write(tmp_path / "line.png", GREY[: MIN_SIDE - 1])
    write(tmp_path / "float.tiff", GREY.astype(np.float32))
    for name in ("empty.png", "text.png", "folder.png", "dot.png", "line.png", "float.tiff", "missing.png"):
        with pytest.raises(ImageError) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_smallest_picture_is_read(tmp_path: Path):
    small = GREY[:MIN_SIDE, :MIN_SIDE]
    assert read_image(write(tmp_path / "a.png", small)).shape == (MIN_SIDE, MIN_SIDE, 3)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM", b"II*\x00", b"RIFF"]),
    rest=st.binary(max_size=300),
)
def test_no_bytes_whatever_raise_anything_else(tmp_path: Path, start: bytes, rest: bytes):
    path = tmp_path / "any.png"
    path.write_bytes(start + rest)
    with contextlib.suppress(ImageError):
        image = read_image(path)
        assert image.dtype == np.uint8
        assert image.ndim == 3
