"""Video files and network streams, through FFmpeg's libraries (PyAV)."""

import errno
import functools
import logging
import time
from collections import deque
from typing import Literal

import av
import av.error
import numpy as np
from av.codec.hwaccel import HWAccel, hwdevices_available

from monitor.errors import ImageError, SourceError
from monitor.records import Image


class VideoDecoder:
    """Decodes the first video stream of what FFmpeg opens as `url`; `shown` is its name in messages."""

    def __init__(
        self,
        url: str,
        shown: str,
        options: dict[str, str],
        timeouts: tuple[float, float],
        hardware: HWAccel | None = None,
    ) -> None:
        self._shown = shown
        self._decoded: deque[av.VideoFrame] = deque()
        self._container = av.open(
            url,
            mode="r",
            options=options,
            timeout=timeouts,
            hwaccel=hardware,
            metadata_errors="replace",  # a title in another encoding is no reason not to look
        )
        video = self._container.streams.video
        if not video or video[0].codec_context is None:
            self._container.close()
            cause, what = (
                ("codec", "its video codec is not supported") if video else ("no-video", "holds no video")
            )
            raise SourceError(cause, f"{shown}: {what}")
        self._stream = video[0]
        # Decoding frames on several threads would hold back as many frames as there are threads.
        self._stream.thread_type = "SLICE"
        self._packets = self._container.demux(self._stream)
        self._patience = timeouts[1]
        self._overdue = False
        self._seen_keyframe = False
        self.source_time: float | None = None

    @property
    def in_hardware(self) -> bool:
        """Whether a device decodes, not the processor."""
        return bool(self._stream.codec_context.is_hwaccel)

    @property
    def rate(self) -> float | None:
        """Pictures a second as the material says, if it does."""
        return float(self._stream.average_rate) if self._stream.average_rate else None

    @property
    def codec(self) -> str:
        """How the pictures are coded, such as `h264`."""
        return str(self._stream.codec_context.name)

    def read(self) -> Image | None:
        """The next picture, None at the end. Raises ImageError for a broken one, and FFmpeg's errors."""
        while not self._decoded:
            if self._overdue:
                raise av.error.TimeoutError(errno.ETIMEDOUT, "no packet in time")
            began = time.monotonic()
            packet = next(self._packets, None)
            # FFmpeg holds one picture back, gives it out when it has waited in vain, and would wait again.
            self._overdue = time.monotonic() - began >= self._patience * 0.99
            if packet is None:
                return None
            try:
                self._decoded.extend(packet.decode())
            except av.error.EOFError:
                return None
            except av.error.InvalidDataError as error:
                if not self._seen_keyframe:  # a stream is joined between two key pictures: that is no damage
                    continue
                raise ImageError(f"{self._shown}: a picture of it cannot be decoded") from error
        self._seen_keyframe = True
        frame = self._decoded.popleft()
        self.source_time = frame.time
        if frame.is_corrupt:
            raise ImageError(f"{self._shown}: a picture of it is damaged")
        return np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8)

    def close(self) -> None:
        """Close the container."""
        self._container.close()


def _describe_error(error: av.error.FFmpegError) -> tuple[str, str]:
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return "authentication", "the camera refuses this user and password"
        case av.error.HTTPNotFoundError():
            return "not-found", "the camera knows no such stream"
        case av.error.ExitError() | av.error.TimeoutError():
            return "timeout", "the camera stopped answering"
        case av.error.InvalidDataError():
            return "gone", "the camera closed the connection or sent no valid answer"
        case av.error.DecoderNotFoundError() | av.error.PatchWelcomeError():
            return "codec", f"the video cannot be decoded: {error.strerror}"
        case av.error.HTTPClientError() | av.error.HTTPError():
            return "refused", f"the camera refused: {error.strerror}"
        case _:
            return "gone", f"the connection broke: {error.strerror}"


log = logging.getLogger(__name__)


DecodeMode = Literal["auto", "software", "hardware"]
"""Where streams are decoded: `hardware` insists on it, `auto` takes it where it is there."""


@functools.cache
def find_hw_decoder() -> str | None:
    """The first kind of device, in FFmpeg's words such as `cuda`, that is there and takes H.264; says which.

    FFmpeg names all kinds it was built for, there or not: each is tried, once in a process.
    """
    for kind in hwdevices_available():
        try:
            HWAccel(kind).create(av.Codec("h264", "r"))
        except (av.error.FFmpegError, NotImplementedError):
            continue
        log.info("streams are decoded by %s, where it takes their codec", kind)
        return kind
    log.info("streams are decoded in software: no device that could is on this machine")
    return None


def hw_accel(decode: DecodeMode) -> HWAccel | None:
    """What PyAV is to decode with, None for software; what the device does not take falls back to it."""
    kind = None if decode == "software" else find_hw_decoder()
    return None if kind is None else HWAccel(kind, allow_software_fallback=True)
