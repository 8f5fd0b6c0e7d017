"""The pages of a TIFF file: each is an image, none is lost."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.capture.sources.files import ImageFolderSource
from monitor.errors import ImageError
from monitor.imaging.files import read_image
from monitor.imaging.pages import page_numbers


def images(count: int) -> list[np.ndarray]:
    return [np.full((16, 24, 3), 20 * number + 10, np.uint8) for number in range(count)]


def write(path: Path, count: int) -> Path:
    path.write_bytes(bytes(cv2.imencodemulti(".tif", images(count))[1]))
    return path


def test_each_page_is_read_on_its_own(tmp_path: Path):
    path = write(tmp_path / "scan.TIF", 3)
    assert page_numbers(path) == [0, 1, 2]
    for page, expected in enumerate(images(3)):
        np.testing.assert_array_equal(read_image(path, page=page), expected)
    with pytest.raises(ImageError):
        read_image(path, page=3)


def test_a_folder_gives_every_page_with_its_name(tmp_path: Path):
    write(tmp_path / "1.tif", 1)
    write(tmp_path / "2.tif", 2)
    cv2.imwrite(str(tmp_path / "3.png"), images(1)[0])
    source = ImageFolderSource(str(tmp_path), interval=None, loop=False)
    names = [source.origin.name for _ in range(4) if source.read() is not None]
    assert names == ["1.tif", "2.tif#page=1", "2.tif#page=2", "3.png"]
    assert source.read() is None


def test_a_reduced_copy_is_no_page(tmp_path: Path):
    path = write(tmp_path / "scan.tif", 2)
    data = bytearray(path.read_bytes())
    # Overwrite the first tag of the second directory by NewSubfileType = 1.
    (first,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[first : first + 2])
    (second,) = struct.unpack("<I", data[first + 2 + 12 * count :][:4])
    data[second + 2 : second + 14] = struct.pack("<HHII", 254, 4, 1, 1)
    path.write_bytes(data)
    assert page_numbers(path) == [0]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), st.data())
def test_a_damaged_file_ends_in_a_page_that_cannot_be_read_or_is_whole(
    tmp_path: Path, count: int, data: st.DataObject
):
    path = write(tmp_path / "scan.tif", count)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    outcomes = []
    for page in page_numbers(path):
        try:
            read_image(path, page=page)
            outcomes.append(True)
        except ImageError:
            outcomes.append(False)
    assert not all(outcomes), "the damage was not noticed"
