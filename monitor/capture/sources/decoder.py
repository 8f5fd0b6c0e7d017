"""Video files and network streams, through FFmpeg's libraries (PyAV)."""

import errno
import functools
import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import av
import av.error
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.packet import Packet

from monitor.capture.frame_period import FramePeriod
from monitor.capture.sources.base import FrameStamp
from monitor.capture.sources.camera_clock import SenderReportClock
from monitor.capture.sources.frame_conversion import Deinterlacer, to_image
from monitor.errors import ImageError, SourceError
from monitor.records import Image


_TRIGGER_POLL = 0.5
"""Seconds after which the frame is taken out that FFmpeg holds back until the next one begins."""


_SECOND_FRAME_TIMEOUT = 60.0
"""Seconds that the second frame may take: until it comes, the period is not known."""


class DecoderOptions(NamedTuple):
    """How a stream or file is read and decoded.

    `read_timeout` (seconds) and three frame periods limit a read, unless the source is `triggered`: then it
    may be silent for ever. Without `has_clock` its time stamps mean nothing. `bit_depth` (8..16) is how many
    bits the values of a format of 16 bits use.
    """

    read_timeout: float = 60.0
    triggered: bool = False
    has_clock: bool = True
    bit_depth: int | None = None


class VideoDecoder:
    """Decodes the first video stream of what FFmpeg opens as `url`; `shown` is its name in messages."""

    def __init__(
        self,
        url: str,
        shown: str,
        options: dict[str, str],
        open_timeout: float = 60.0,
        decoding: DecoderOptions = DecoderOptions(),
        hardware: HWAccel | None = None,
    ) -> None:
        self._shown = shown
        self._decoding = decoding
        self._deinterlacer = Deinterlacer()
        self._shared_clock = SenderReportClock(time.monotonic())
        self.stamp: FrameStamp | None = None
        # Longer ones for cameras that are never silent: an interrupted read may cut a frame in two.
        self._poll = _TRIGGER_POLL if decoding.triggered else decoding.read_timeout
        self._decoded: deque[av.VideoFrame] = deque()
        self._container = av.open(
            url,
            mode="r",
            options=options,
            timeout=(open_timeout, self._poll),
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
        self._seen_keyframe = False
        self._period = FramePeriod()
        self._silent_since = time.monotonic()
        # FFmpeg gives out a frame when the next one begins, but for MJPEG, whose frames say how long they are.
        self._is_held_back = url.startswith("rtsp") and self.codec != "mjpeg"
        self._next_arrival: tuple[float, float] | None = None

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
            packet = self._next_packet()
            if packet is None:
                self._decoded.extend(self._deinterlacer.flush())
                if not self._decoded:
                    return None
                break
            try:
                self._decoded.extend(self._deinterlace(packet.decode()))
            except av.error.EOFError:
                return None
            except av.error.InvalidDataError as error:
                if not self._seen_keyframe:  # a stream is joined between two key pictures: that is no damage
                    continue
                raise ImageError(f"{self._shown}: a picture of it cannot be decoded") from error
        self._seen_keyframe = True
        frame = self._decoded.popleft()
        if self.stamp is not None and self._decoding.has_clock:
            shared = self._shared_clock.capture_time(frame.time, self.stamp.arrived)
            self.stamp = self.stamp._replace(source_time=frame.time, capture_time=shared)
        if frame.is_corrupt:
            raise ImageError(f"{self._shown}: a picture of it is damaged")
        return to_image(frame, self._decoding.bit_depth)

    def _next_packet(self) -> "Packet[Any] | None":
        """Return the next packet, None at the end. Raises FFmpeg's errors, at the time limit, too."""
        while True:
            limit = self._max_silence()
            if time.monotonic() - self._silent_since >= limit * 0.99:
                raise av.error.TimeoutError(errno.ETIMEDOUT, "no packet in time")
            started_at = time.monotonic()
            try:
                packet = next(self._packets, None)
            except av.error.FFmpegError:
                now = time.monotonic()
                was_interrupted = now - started_at >= self._poll * 0.99
                if not was_interrupted or now - self._silent_since >= limit * 0.99:
                    raise
                self._packets = self._container.demux(self._stream)
                continue
            self._note_arrival(packet, started_at, time.monotonic())
            return packet

    def _max_silence(self) -> float:
        if self._decoding.triggered:
            return math.inf
        timeout = self._decoding.read_timeout
        return self._period.max_silence(timeout, timeout if self.stamp is None else _SECOND_FRAME_TIMEOUT)

    def _note_arrival(self, packet: "Packet[Any] | None", started_at: float, now: float) -> None:
        """Record when the packet came, and how long it was waited for."""
        if packet is None or not packet.size:
            return
        arrival = now, now - started_at
        # An interrupted read gives out what FFmpeg held back; nothing has arrived by then.
        was_interrupted = now - started_at >= self._poll * 0.99
        if self._is_held_back:
            arrival, self._next_arrival = self._next_arrival or arrival, None if was_interrupted else arrival
        self.stamp = FrameStamp(*arrival)
        self._shared_clock.observe(packet)
        if not was_interrupted:
            self._silent_since = now
        self._period.frame_arrived(arrival[0])

    def _deinterlace(self, frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            yield from self._deinterlacer.push(frame)

    def close(self) -> None:
        """Close the container."""
        self._container.close()


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
