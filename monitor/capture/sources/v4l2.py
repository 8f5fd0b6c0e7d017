"""A camera of this machine, through Video4Linux."""

import errno
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from monitor.capture.frame_period import FramePeriod
from monitor.capture.sources.base import FrameStamp
from monitor.capture.sources.v4l2_formats import current_size, is_busy
from monitor.errors import SourceError
from monitor.records import Image

_READ_TIMEOUT = 10.0
"""Seconds after which OpenCV gives up on a frame (environment: OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT)."""


_SECOND_FRAME_TIMEOUT = 60.0
"""Seconds that the second frame may take: until it comes, the period is not known."""


_MANUAL_EXPOSURE = 1  # V4L2_EXPOSURE_MANUAL


class DeviceOptions(NamedTuple):
    """What a device is asked for; None leaves it as it is. `size` is (width, height) in pixels."""

    size: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None
    exposure: float | None = None
    gain: float | None = None


_AS_IT_IS = DeviceOptions()


class V4l2Source:
    """A capture device such as `/dev/video0`, with the shortest queue that its driver allows.

    Raises SourceError, cause `invalid`, where the device does not take what it is asked for.
    """

    live = True
    frame_interval = None

    def __init__(self, location: str, options: DeviceOptions = _AS_IT_IS, *, triggered: bool = False) -> None:
        self._location = location
        self._triggered = triggered
        self._period = FramePeriod()
        self.stamp: FrameStamp | None = None
        _check_openable(location)
        size = options.size or current_size(location)
        self._capture = cv2.VideoCapture(location, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            self._capture.release()
            if is_busy(location):
                raise SourceError("busy", f"{location}: another program uses the camera")
            raise SourceError(
                "no-video", f"{location}: the device exists, but is no capture device or gives no video now"
            )
        try:
            self._configure(options._replace(size=size))
        except SourceError:
            self._capture.release()
            raise

    @property
    def codec(self) -> str:
        """The pixel format of the driver, four letters such as `MJPG` or `YUYV`."""
        return int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("ascii", "replace")

    @property
    def source_time(self) -> float | None:
        """Seconds of the latest frame on the driver's clock; None where it stamps none."""
        return None if self.stamp is None else self.stamp.source_time

    stream_time = source_time

    def read(self) -> Image | None:
        """Return the next frame. Raises SourceError when the device is gone or delivers none in time."""
        started_at = time.monotonic()
        while True:
            good, image = self._capture.read()
            now = time.monotonic()
            if good:
                self._period.frame_arrived(now)
                self.stamp = self._make_stamp(now, now - started_at)
                return np.asarray(image, np.uint8)
            if not Path(self._location).exists():
                raise SourceError("gone", f"{self._location}: the camera was unplugged")
            unknown = _READ_TIMEOUT if self.stamp is None else _SECOND_FRAME_TIMEOUT
            limit = math.inf if self._triggered else self._period.max_silence(_READ_TIMEOUT, unknown)
            # One that fails at once does not wait for a frame: the device is broken.
            if now - started_at >= limit * 0.99 or now - started_at < _READ_TIMEOUT / 2:
                raise SourceError("timeout", f"{self._location}: the camera delivered no frame in time")

    def close(self) -> None:
        """Release the device."""
        self._capture.release()

    def _configure(self, options: DeviceOptions) -> None:
        """Ask for the options, in the order in which they limit each other, and check what was taken."""
        set_, get = self._capture.set, self._capture.get
        set_(cv2.CAP_PROP_BUFFERSIZE, 1)
        if options.pixel_format is not None:
            set_(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*options.pixel_format))
            if self.codec != options.pixel_format:
                self._refuse("format", options.pixel_format, self.codec)
        if options.size is not None:
            set_(cv2.CAP_PROP_FRAME_WIDTH, options.size[0])
            set_(cv2.CAP_PROP_FRAME_HEIGHT, options.size[1])
            taken = int(get(cv2.CAP_PROP_FRAME_WIDTH)), int(get(cv2.CAP_PROP_FRAME_HEIGHT))
            if taken != tuple(options.size):
                self._refuse("size", "{}x{}".format(*options.size), "{}x{}".format(*taken))
        if options.fps is not None:
            set_(cv2.CAP_PROP_FPS, options.fps)
            if abs((rate := get(cv2.CAP_PROP_FPS)) - options.fps) > 0.05 * options.fps:
                self._refuse("fps", f"{options.fps:g}", f"{rate:g}")
        if options.exposure is not None:
            set_(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE)
            if not set_(cv2.CAP_PROP_EXPOSURE, options.exposure):
                self._refuse("exposure", f"{options.exposure:g}", "no manual exposure of this value")
        if options.gain is not None and not set_(cv2.CAP_PROP_GAIN, options.gain):
            self._refuse("gain", f"{options.gain:g}", "no gain of this value")

    def _refuse(self, key: str, wanted: str, offered: str) -> None:
        raise SourceError(
            "invalid",
            f"{self._location}: the device was asked for {key} {wanted} and offers {offered}; "
            "doctor lists what it offers",
        )

    def _make_stamp(self, now: float, waited: float) -> FrameStamp:
        """Drivers stamp frames on the monotonic clock, most of them; another clock is only compared."""
        driver_time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or None
        is_monotonic = driver_time is not None and 0 <= now - driver_time <= _READ_TIMEOUT
        return FrameStamp(now, waited, driver_time, driver_time if is_monotonic else None)


def _check_openable(location: str) -> None:
    """Open the device for a moment: the system says why it cannot, OpenCV only that it could not."""
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
