"""Values of 10, 12 or 14 bits in a file of 16 bits: scaled by what the file says, never guessed."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ImageError
from monitor.imaging.bit_depth import declared_maximum, scale_to_8_bits
from monitor.imaging.files import read_image

GREY = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) % 256


def deep(bits: int) -> np.ndarray:
    """The grey levels of GREY, spread over `bits`."""
    return np.rint(GREY.astype(float) * ((1 << bits) - 1) / 255).astype(np.uint16)


def png(values: np.ndarray, significant: int | None = None) -> bytes:
    data = cv2.imencode(".png", values)[1].tobytes()
    if significant is None:
        return data
    body = b"sBIT" + bytes([significant])
    chunk = struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]  # after the signature and IHDR


def tiff(values: np.ndarray, maximum: int | None, order: str) -> bytes:
    """An uncompressed TIFF with MaxSampleValue."""
    height, width = values.shape
    entries = [
        (256, 4, width), (257, 4, height), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 4, height), (279, 4, values.nbytes),
    ]  # fmt: skip
    entries += [] if maximum is None else [(281, 3, maximum)]
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        code = f"{order}HHIHxx" if kind == 3 else f"{order}HHII"
        directory += struct.pack(code, tag, kind, 1, value)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + values.nbytes)
    return head + values.astype(f"{order}u2").tobytes() + directory + bytes(4)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["png", "tiff-little", "tiff-big", "pgm", "pgm-comment"])
def test_the_file_says_how_many_bits_it_uses(bits: int, kind: str, tmp_path: Path):
    values, maximum = deep(bits), (1 << bits) - 1
    match kind:
        case "png":
            data, name = png(values, bits), "image.png"
        case "tiff-little" | "tiff-big":
            data, name = tiff(values, maximum, "<" if kind == "tiff-little" else ">"), "image.tif"
        case _:
            comment = b"# from the line\n" if kind == "pgm-comment" else b""
            data, name = (
                b"P5\n" + comment + b"64 64\n%d\n" % maximum + values.astype(">u2").tobytes(),
                "image.pgm",
            )
    (tmp_path / name).write_bytes(data)
    assert np.abs(read_image(tmp_path / name)[:, :, 0].astype(int) - GREY.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("bits", "usual"), [(8, 8), (9, 10), (10, 10), (11, 12), (12, 12), (13, 14), (14, 14)]
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_file_that_does_not_say_it_is_refused_with_what_was_found(
    bits: int, usual: int, suffix: str, tmp_path: Path
):
    path = tmp_path / f"image{suffix}"
    cv2.imwrite(str(path), deep(bits))
    with pytest.raises(ImageError, match=rf"values use {bits} of 16 bits: set bit_depth = {usual}") as caught:
        read_image(path)
    assert caught.value.cause == "unusable"
    assert path.name in str(caught.value)
    found = read_image(path, bit_depth=bits)[:, :, 0]
    assert np.abs(found.astype(int) - GREY.astype(int)).max() <= 1
    assert read_image(path, bit_depth=16).max() == round(deep(bits).max() / 257)


def test_sixteen_bits_and_eight_bits_are_read_as_before(tmp_path: Path):
    for values in (deep(16), GREY.astype(np.uint8)):
        cv2.imwrite(str(tmp_path / "image.png"), values)
        np.testing.assert_array_equal(read_image(tmp_path / "image.png")[:, :, 0], GREY)


def test_a_png_that_spreads_its_twelve_bits_over_sixteen_is_not_brightened(tmp_path: Path):
    values = deep(12) << 4 | deep(12) >> 8
    (tmp_path / "image.png").write_bytes(png(values, 12))
    assert np.abs(read_image(tmp_path / "image.png")[:, :, 0].astype(int) - GREY.astype(int)).max() <= 1


def test_more_bits_than_set_are_refused():
    with pytest.raises(ImageError, match="values use 13 bits, more than bit_depth = 12"):
        scale_to_8_bits(np.array([5000], np.uint16), None, 12)


@given(st.integers(8, 16), st.data())
def test_scaling_keeps_the_order_and_the_ends(bits: int, data: st.DataObject):
    maximum = (1 << bits) - 1
    values = np.array(
        sorted(data.draw(st.lists(st.integers(0, maximum), min_size=2, max_size=50))), np.uint16
    )
    found = scale_to_8_bits(values, None, bits)
    assert (np.diff(found.astype(int)) >= 0).all()
    np.testing.assert_allclose(found, values * (255 / maximum), atol=0.5001)


@given(st.binary(max_size=300), st.sampled_from([b"", b"P5\n", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*"]))
def test_no_header_breaks_the_reading(noise: bytes, head: bytes):
    found = declared_maximum(head + noise)
    assert found is None or found > 0
