"""A camera of this machine, through Video4Linux."""

import errno
import fcntl
import os
import struct
from pathlib import Path

import cv2
import numpy as np

from monitor.errors import SourceError
from monitor.records import Image

_REQUEST_BUFFERS = 0xC0145608
"""VIDIOC_REQBUFS of Video4Linux."""


_NO_BUFFERS = struct.pack("=IIIII", 0, 1, 1, 0, 0)
"""v4l2_requestbuffers: none, for video capture, mapped into memory."""


class V4l2Source:
    """A capture device such as `/dev/video0`. Its driver's queue is kept as short as the driver lets it be.

    OpenCV gives up on a picture after 10 s (environment: OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT).
    """

    live = True
    frame_interval = None

    def __init__(self, location: str) -> None:
        self._location = location
        _check_openable(location)
        self._capture = cv2.VideoCapture(location, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            self._capture.release()
            if _is_busy(location):
                raise SourceError("busy", f"{location}: another program uses the camera")
            raise SourceError(
                "no-video", f"{location}: is there, but is no capture device or gives no video now"
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    @property
    def codec(self) -> str:
        """The pixel format of the driver, four letters such as `MJPG` or `YUYV`."""
        return int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")

    @property
    def source_time(self) -> float | None:
        """Seconds of the latest picture on the driver's clock; None where it stamps none."""
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or None

    stream_time = source_time

    def read(self) -> Image | None:
        """The next picture. Raises SourceError when the device is gone or gives none in time."""
        good, picture = self._capture.read()
        if good:
            return np.asarray(picture, np.uint8)
        if not Path(self._location).exists():
            raise SourceError("gone", f"{self._location}: the camera was unplugged")
        raise SourceError("timeout", f"{self._location}: the camera gave no picture in time")

    def close(self) -> None:
        """Gives the device back."""
        self._capture.release()


def _is_busy(location: str) -> bool:
    """Whether another program takes pictures: any may open a camera, but only one may ask for its buffers."""
    try:
        device = os.open(location, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        return error.errno == errno.EBUSY
    try:
        fcntl.ioctl(device, _REQUEST_BUFFERS, _NO_BUFFERS)
    except OSError as error:
        return error.errno == errno.EBUSY
    finally:
        os.close(device)
    return False


def _check_openable(location: str) -> None:
    """Opens the device for a moment: the system says why it cannot, OpenCV only that it could not."""
    try:
        os.close(os.open(location, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        match error.errno:
            case errno.ENOENT | errno.ENXIO | errno.ENODEV:
                raise SourceError("not-found", f"{location}: no such camera") from error
            case errno.EBUSY:
                raise SourceError("busy", f"{location}: another program uses the camera") from error
            case errno.EACCES | errno.EPERM:
                message = f"{location}: no permission; add the user to the group 'video'"
                raise SourceError("refused", message) from error
            case _:
                raise SourceError("invalid", f"{location}: cannot be opened: {error.strerror}") from error
