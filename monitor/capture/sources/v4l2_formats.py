"""What a Video4Linux device offers, asked by the kernel's own calls (linux/videodev2.h)."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

VIDIOC_QUERYCAP = 0x80685600
VIDIOC_ENUM_FMT = 0xC0405602
VIDIOC_G_FMT = 0xC0D05604
VIDIOC_REQBUFS = 0xC0145608
VIDIOC_ENUM_FRAMESIZES = 0xC02C564A
VIDIOC_ENUM_FRAMEINTERVALS = 0xC034564B


_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_MMAP = 1  # V4L2_MEMORY_MMAP
_DISCRETE = 1  # V4L2_FRMSIZE_TYPE_DISCRETE and V4L2_FRMIVAL_TYPE_DISCRETE
_MAX_ENTRIES = 1000  # of one list; a driver that goes on for ever is broken


_FMTDESC = struct.Struct("=III32sII12x")
_FRAMESIZE = struct.Struct("=III6I8x")
_FRAMEINTERVAL = struct.Struct("=IIIII6I8x")
_REQUESTBUFFERS = struct.Struct("=IIIII")
_FORMAT = struct.Struct("=I4x3I188x")  # of v4l2_format, the head of v4l2_pix_format


Ioctl = Callable[[int, int, bytearray], object]
"""`fcntl.ioctl`: carries out a request on a descriptor and changes the buffer."""


class FrameFormat(NamedTuple):
    """A pixel format in one size. `step` is None for a size of its own, else sizes go on up to `max_size`."""

    pixel_format: str
    width: int
    height: int
    max_size: tuple[int, int] | None = None
    fps: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Return the format as `doctor` shows it, such as `MJPG 1920x1080 (30, 15 fps)`."""
        upto = f" to {self.max_size[0]}x{self.max_size[1]}" if self.max_size else ""
        rates = f" ({', '.join(f'{rate:g}' for rate in self.fps)} fps)" if self.fps else ""
        return f"{self.pixel_format} {self.width}x{self.height}{upto}{rates}"


def list_formats(location: str, ioctl: Ioctl = fcntl.ioctl) -> list[FrameFormat]:
    """Return what the device at `location` offers; empty where it says nothing. Raises OSError."""
    descriptor = os.open(location, os.O_RDWR | os.O_NONBLOCK)
    try:
        return [
            size
            for pixel_format in _pixel_formats(descriptor, ioctl)
            for size in _sizes(descriptor, pixel_format, ioctl)
        ]
    finally:
        os.close(descriptor)


def current_size(location: str, ioctl: Ioctl = fcntl.ioctl) -> tuple[int, int] | None:
    """Return width and height that the device is set to; None where it does not say so."""
    try:
        descriptor = os.open(location, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        buffer = bytearray(_FORMAT.pack(_CAPTURE, 0, 0, 0))
        ioctl(descriptor, VIDIOC_G_FMT, buffer)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    _, width, height, _ = _FORMAT.unpack(buffer)
    return (width, height) if width and height else None


def is_busy(location: str, ioctl: Ioctl = fcntl.ioctl) -> bool:
    """Return whether another program captures: any may open a camera, only one may ask for its buffers."""
    try:
        descriptor = os.open(location, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        return error.errno == errno.EBUSY
    try:
        ioctl(descriptor, VIDIOC_REQBUFS, bytearray(_REQUESTBUFFERS.pack(0, _CAPTURE, _MMAP, 0, 0)))
    except OSError as error:
        return error.errno == errno.EBUSY
    finally:
        os.close(descriptor)
    return False


def _pixel_formats(descriptor: int, ioctl: Ioctl) -> Iterator[bytes]:
    for index in range(_MAX_ENTRIES):
        buffer = bytearray(_FMTDESC.pack(index, _CAPTURE, 0, b"", 0, 0))
        if not _succeeds(ioctl, descriptor, VIDIOC_ENUM_FMT, buffer):
            return
        yield struct.pack("=I", _FMTDESC.unpack(buffer)[4])


def _sizes(descriptor: int, pixel_format: bytes, ioctl: Ioctl) -> Iterator[FrameFormat]:
    name, code = pixel_format.decode("ascii", "replace"), struct.unpack("=I", pixel_format)[0]
    for index in range(_MAX_ENTRIES):
        buffer = bytearray(_FRAMESIZE.pack(index, code, 0, 0, 0, 0, 0, 0, 0))
        if not _succeeds(ioctl, descriptor, VIDIOC_ENUM_FRAMESIZES, buffer):
            return
        _, _, kind, first, second, _, third, fourth, _ = _FRAMESIZE.unpack(buffer)
        if kind == _DISCRETE:  # width, height
            yield FrameFormat(name, first, second, None, _rates(descriptor, code, first, second, ioctl))
        else:  # smallest and largest width and step, smallest and largest height and step
            yield FrameFormat(name, first, third, (second, fourth))
            return


def _rates(descriptor: int, code: int, width: int, height: int, ioctl: Ioctl) -> tuple[float, ...]:
    found: list[float] = []
    for index in range(_MAX_ENTRIES):
        buffer = bytearray(_FRAMEINTERVAL.pack(index, code, width, height, 0, 0, 0, 0, 0, 0, 0))
        if not _succeeds(ioctl, descriptor, VIDIOC_ENUM_FRAMEINTERVALS, buffer):
            break
        _, _, _, _, kind, numerator, denominator, *_ = _FRAMEINTERVAL.unpack(buffer)
        if kind == _DISCRETE and numerator:
            found.append(round(denominator / numerator, 3))
    return tuple(found)


def _succeeds(ioctl: Ioctl, descriptor: int, request: int, buffer: bytearray) -> bool:
    try:
        ioctl(descriptor, request, buffer)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
            return False  # the end of the list, or a driver without one
        raise
    return True
