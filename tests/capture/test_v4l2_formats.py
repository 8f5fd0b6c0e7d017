"""What a device offers, by the kernel's calls. No camera is on this machine: a fake answers as one does.

The fake lays out its answers with the kernel's structures written down again, as ctypes, so that a wrong
offset on either side shows. Sizes and numbers were compared with <linux/videodev2.h>.
"""

import ctypes
import errno
from pathlib import Path

import cv2
import pytest

from monitor.capture.sources import v4l2
from monitor.capture.sources.v4l2 import DeviceOptions, V4l2Source
from monitor.capture.sources.v4l2_formats import FrameFormat, current_size, list_formats
from monitor.errors import SourceError


class FormatDescription(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint32), ("type", ctypes.c_uint32), ("flags", ctypes.c_uint32),
        ("description", ctypes.c_char * 32), ("pixelformat", ctypes.c_char * 4),
        ("mbus_code", ctypes.c_uint32), ("reserved", ctypes.c_uint32 * 3),
    )  # fmt: skip


class FrameSize(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint32), ("pixel_format", ctypes.c_char * 4), ("type", ctypes.c_uint32),
        ("values", ctypes.c_uint32 * 6), ("reserved", ctypes.c_uint32 * 2),
    )  # fmt: skip


class FrameInterval(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint32), ("pixel_format", ctypes.c_char * 4), ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32), ("type", ctypes.c_uint32), ("values", ctypes.c_uint32 * 6),
        ("reserved", ctypes.c_uint32 * 2),
    )  # fmt: skip


class PixelFormat(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32), ("padding", ctypes.c_uint32), ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32), ("pixelformat", ctypes.c_char * 4), ("rest", ctypes.c_uint8 * 188),
    )  # fmt: skip


def fake_ioctl(_: int, request: int, buffer: bytearray) -> int:
    """A camera with MJPG in two sizes, and YUYV in any size up to 1280x720."""
    size = request >> 16 & 0x3FFF
    assert len(buffer) == size, "the kernel copies as many bytes as the request says"
    match request:
        case 0xC0405602:
            entry = FormatDescription.from_buffer(buffer)
            if entry.index > 1 or entry.type != 1:
                raise OSError(errno.EINVAL, "no more")
            entry.pixelformat = (b"MJPG", b"YUYV")[entry.index]
        case 0xC02C564A:
            found = FrameSize.from_buffer(buffer)
            if found.pixel_format == b"MJPG" and found.index < 2:
                found.type, found.values[:2] = 1, ((1920, 1080), (640, 480))[found.index]
            elif found.pixel_format == b"YUYV" and found.index == 0:
                found.type, found.values[:] = 3, (32, 1280, 2, 16, 720, 2)
            else:
                raise OSError(errno.EINVAL, "no more")
        case 0xC034564B:
            interval = FrameInterval.from_buffer(buffer)
            rates = (30, 15) if interval.width == 1920 else (60,)
            if interval.index >= len(rates):
                raise OSError(errno.EINVAL, "no more")
            interval.type, interval.values[:2] = 1, (1, rates[interval.index])
        case 0xC0D05604:
            pixel_format = PixelFormat.from_buffer(buffer)
            assert pixel_format.type == 1
            pixel_format.width, pixel_format.height = 1920, 1080
        case _:
            raise OSError(errno.ENOTTY, "unknown")
    return 0


@pytest.fixture
def node(tmp_path: Path) -> str:
    path = tmp_path / "video0"
    path.touch()
    return str(path)


def test_formats_sizes_and_rates_are_listed(node: str):
    found = list_formats(node, fake_ioctl)
    assert found == [
        FrameFormat("MJPG", 1920, 1080, None, (30.0, 15.0)),
        FrameFormat("MJPG", 640, 480, None, (60.0,)),
        FrameFormat("YUYV", 32, 16, (1280, 720)),
    ]
    assert [str(one) for one in found] == [
        "MJPG 1920x1080 (30, 15 fps)",
        "MJPG 640x480 (60 fps)",
        "YUYV 32x16 to 1280x720",
    ]
    assert current_size(node, fake_ioctl) == (1920, 1080)


def test_what_is_no_camera_offers_nothing():
    assert list_formats("/dev/null") == []
    assert current_size("/dev/null") is None


class FakeCapture:
    """Stands in for OpenCV's capture of a camera with 1920x1080 and 1280x720, MJPG, 30 and 15 a second."""

    asked: list[tuple[int, float]] = []  # noqa: RUF012 (looked at by the test)

    def __init__(self, *_: object) -> None:
        self.values = {
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: 30.0,
        }
        self.values[cv2.CAP_PROP_FOURCC] = float(cv2.VideoWriter.fourcc(*"YUYV"))
        FakeCapture.asked = []

    def isOpened(self) -> bool:
        return True

    def set(self, key: int, value: float) -> bool:
        FakeCapture.asked.append((key, value))
        allowed = {
            cv2.CAP_PROP_FRAME_WIDTH: (1920, 1280),
            cv2.CAP_PROP_FRAME_HEIGHT: (1080, 720),
            cv2.CAP_PROP_FPS: (30, 15),
            cv2.CAP_PROP_FOURCC: (cv2.VideoWriter.fourcc(*"MJPG"),),
            cv2.CAP_PROP_GAIN: range(101),
        }
        if value in allowed.get(key, (value,)):
            self.values[key] = float(value)
            return True
        return False

    def get(self, key: int) -> float:
        return self.values.get(key, 0.0)

    def release(self) -> None: ...


@pytest.fixture
def fake_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v4l2.cv2, "VideoCapture", FakeCapture)
    monkeypatch.setattr(v4l2, "current_size", lambda _: (1920, 1080))


def test_a_device_keeps_the_size_that_it_is_set_to_and_not_640x480(fake_camera: None, node: str):
    V4l2Source(node)
    assert (cv2.CAP_PROP_FRAME_WIDTH, 1920) in FakeCapture.asked
    assert (cv2.CAP_PROP_FRAME_HEIGHT, 1080) in FakeCapture.asked


def test_a_device_is_asked_for_the_format_first_then_size_rate_exposure_and_gain(
    fake_camera: None, node: str
):
    source = V4l2Source(node, DeviceOptions((1280, 720), 15, "MJPG", 200, 40))
    assert source.codec == "MJPG"
    keys = [key for key, _ in FakeCapture.asked]
    order = [
        cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FPS, cv2.CAP_PROP_AUTO_EXPOSURE,
        cv2.CAP_PROP_EXPOSURE, cv2.CAP_PROP_GAIN,
    ]  # fmt: skip
    assert [key for key in keys if key in order] == order


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DeviceOptions(size=(4096, 2160)), "size 4096x2160 and offers 640x480"),
        (DeviceOptions(pixel_format="H264"), "format H264 and offers YUYV"),
        (DeviceOptions(fps=120), "fps 120 and offers 30"),
        (DeviceOptions(gain=1000), "gain 1000 and offers no gain of this value"),
    ],
)
def test_what_a_device_does_not_offer_is_refused(
    fake_camera: None, node: str, options: DeviceOptions, message: str
):
    with pytest.raises(SourceError, match=message) as caught:
        V4l2Source(node, options)
    assert caught.value.cause == "invalid"
