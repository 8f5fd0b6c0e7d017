"""Frames come out as a player shows them: upright, whole, and as bright as the format says."""

import statistics
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.sources.frame_conversion import Deinterlacer, set_upright
from monitor.capture.sources.opening import open_source
from monitor.errors import ImageError

ONE = 65536
GREY = (np.arange(48 * 64).reshape(48, 64) % 200 + 20).astype(np.uint8)


def write(path: Path, values: np.ndarray, pixel_format: str, codec: str = "ffv1", count: int = 3) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = values.shape[:2]
        stream.pix_fmt = pixel_format
        for _ in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format=pixel_format)))
        container.mux(stream.encode())
    return path


def first_frame(path: Path, **options: object) -> np.ndarray:
    source = open_source(str(path), **options)
    image = source.read()
    source.close()
    assert image is not None
    return image


matrices = st.sampled_from(
    [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]
)


@given(matrices, st.integers(1, 7), st.integers(1, 7))
def test_each_pixel_goes_where_the_matrix_puts_it(matrix: tuple[int, int, int, int], height: int, width: int):
    a, b, c, d = matrix
    image = np.arange(height * width * 3).reshape(height, width, 3).astype(np.uint8)
    places = {(a * x + c * y, b * x + d * y): image[y, x] for y in range(height) for x in range(width)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    found = set_upright(image, (a * ONE, b * ONE, c * ONE, d * ONE))
    for (x, y), pixel in places.items():
        np.testing.assert_array_equal(found[y - top, x - left], pixel)


def test_a_matrix_that_is_no_quarter_turn_changes_nothing():
    image = np.zeros((4, 6, 3), np.uint8)
    for matrix in ((46341, 46341, -46341, 46341), (0, 0, 0, 0), (ONE, ONE, 0, ONE)):
        assert set_upright(image, matrix) is image


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_video_from_a_phone_is_set_upright(tmp_path: Path, degrees: int):
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.set_display_rotation(degrees)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(GREY, format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    plain, shown = GREY, first_frame(path)[:, :, 0]
    expected = np.rot90(plain, degrees // 90)
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 8
    assert first_frame(path, rotate=90).shape[:2] == expected.shape[::-1]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_setting_turns_clockwise(tmp_path: Path, degrees: int):
    path = write(tmp_path / "plain.mkv", GREY, "gray")
    expected = first_frame(path)
    for _ in range(degrees // 90):
        expected = np.rot90(expected, -1)
    np.testing.assert_array_equal(first_frame(path, rotate=degrees), expected)


@pytest.mark.parametrize("bits", [10, 12])
def test_a_format_that_names_its_bits_is_scaled_by_them(tmp_path: Path, bits: int):
    values = np.rint(GREY.astype(float) * ((1 << bits) - 1) / 255).astype(np.uint16)
    path = write(tmp_path / "deep.mkv", values, f"gray{bits}le")
    assert np.abs(first_frame(path)[:, :, 0].astype(int) - GREY).max() <= 2


def test_ten_bits_of_colour_are_scaled(tmp_path: Path):
    path = tmp_path / "deep.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p10le"
        frame = av.VideoFrame.from_ndarray(GREY, format="gray").reformat(format="yuv420p10le")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert np.abs(first_frame(path)[:, :, 0].astype(int) - GREY).mean() < 3


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("pixel_format", ["gray16le", "gbrp16le"])
def test_fewer_bits_in_sixteen_are_refused_or_scaled_as_set(tmp_path: Path, bits: int, pixel_format: str):
    values = np.rint(GREY.astype(float) * ((1 << bits) - 1) / 255).astype(np.uint16)
    values[0, 0] = (1 << bits) - 1
    if pixel_format != "gray16le":
        values = np.repeat(values[:, :, np.newaxis], 3, axis=2)
    path = write(tmp_path / "deep.mkv", values, pixel_format)
    with pytest.raises(ImageError, match=f"values use {bits} of 16 bits: set bit_depth = {bits}") as caught:
        first_frame(path)
    assert caught.value.cause == "unusable"
    found = first_frame(path, bit_depth=bits)[1:, :, 0]
    assert np.abs(found.astype(int) - GREY[1:]).max() <= 1


def interlaced_frames(count: int) -> list[av.VideoFrame]:
    """A bar that moves between the two fields of each frame: woven together, they show a comb."""
    frames = []
    for number in range(count):
        image = np.full((48, 64), 40, np.uint8)
        image[0::2, 2 * number : 2 * number + 16] = 220
        image[1::2, 2 * number + 1 : 2 * number + 17] = 220
        frame = av.VideoFrame.from_ndarray(image, format="gray").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        frames.append(frame)
    return frames


def comb(image: np.ndarray) -> float:
    rows = image.astype(int)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


def write_interlaced(path: Path, count: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "mpeg2video", rate=25, options={"flags": "+ilme+ildct", "qmin": "1", "qmax": "2", "bf": "0"}
        )
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in interlaced_frames(count):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_interlaced_video_is_made_whole_and_none_of_its_frames_is_lost(tmp_path: Path):
    path = write_interlaced(tmp_path / "interlaced.mpg", 20)
    with av.open(str(path)) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0)), "the test's video is not"
    source = open_source(str(path))
    images = []
    while (image := source.read()) is not None:
        images.append(image[:, :, 0])
    source.close()
    woven = [frame.to_ndarray(format="gray") for frame in interlaced_frames(20)]
    assert len(images) == 20
    assert statistics.median(map(comb, images)) < 0.3 * statistics.median(map(comb, woven))


def test_progressive_frames_pass_without_a_delay():
    deinterlacer = Deinterlacer()
    for frame in interlaced_frames(5):
        assert list(deinterlacer.push(frame)) == [frame]
    assert list(deinterlacer.flush()) == []
