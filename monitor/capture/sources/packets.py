"""Packets of a stream, when each arrived, and how long the stream may be silent."""

import errno
import math
import time
from typing import Any, NamedTuple

import av
import av.error
import av.logging
from av.container import InputContainer
from av.video.stream import VideoStream

from monitor.capture.frame_period import FramePeriod
from monitor.capture.sources.base import FrameStamp
from monitor.capture.sources.camera_clock import SenderReportClock

_TRIGGER_POLL = 0.5
"""Seconds after which the frame is taken out that FFmpeg holds back until the next one begins."""

_SECOND_FRAME_TIMEOUT = 60.0
"""Seconds that the second frame may take: until it comes, the period is not known."""


class DecoderOptions(NamedTuple):
    """How a stream or file is read and decoded.

    `read_timeout` (seconds) and three frame periods limit a read, unless the source is `triggered`: then it
    may be silent for ever. Without `has_clock` its time stamps mean nothing. `bit_depth` (8..16) is how many
    bits the values of a format of 16 bits use. With `joins_midway` frames before the first one that can be
    decoded alone are skipped, as they were sent for others; without it they count as damaged.
    """

    read_timeout: float = 60.0
    triggered: bool = False
    has_clock: bool = True
    bit_depth: int | None = None
    joins_midway: bool = False

    @property
    def poll_interval(self) -> float:
        """Seconds after which a read is interrupted; that may cut a frame, so it is rare if it can be."""
        return _TRIGGER_POLL if self.triggered else self.read_timeout


class PacketReader:
    """Reads the packets of one stream. `opened_at` is when the container was asked for (monotonic)."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        options: DecoderOptions,
        opened_at: float,
        *,
        is_held_back: bool,
    ) -> None:
        self._container = container
        self._stream = stream
        self._options = options
        self._is_held_back = is_held_back
        self._packets = container.demux(stream)
        self._shared_clock = SenderReportClock(opened_at)
        self._period = FramePeriod()
        self._silent_since = time.monotonic()
        self._arrival: tuple[float, float] | None = (
            None  # of the latest packet: when, and how long waited for
        )
        self._next_arrival: tuple[float, float] | None = None

    def stamp(self, source_time: float | None) -> FrameStamp | None:
        """Return what is known of the time of the latest frame, which the source stamped `source_time`."""
        if self._arrival is None:
            return None
        stamp = FrameStamp(*self._arrival)
        if not self._options.has_clock:
            return stamp
        capture_time = self._shared_clock.capture_time(source_time, stamp.arrived)
        return stamp._replace(source_time=source_time, capture_time=capture_time)

    def read(self) -> tuple["av.Packet[Any] | None", list[tuple[int, str, str]]]:
        """Return the next packet, None at the end, and what FFmpeg logged about it.

        Raises FFmpeg's errors, also when the source is silent for too long.
        """
        while True:
            limit = self._max_silence() * 0.99
            if time.monotonic() - self._silent_since >= limit:
                raise av.error.TimeoutError(errno.ETIMEDOUT, "no packet in time")
            started_at = time.monotonic()
            try:
                with av.logging.Capture() as lines:
                    packet = next(self._packets, None)
            except av.error.FFmpegError:
                now = time.monotonic()
                if now - started_at < self._options.poll_interval * 0.99 or now - self._silent_since >= limit:
                    raise
                self._packets = self._container.demux(self._stream)
                continue
            if packet is not None and packet.size:
                self._note_arrival(packet, started_at, time.monotonic())
            return packet, lines

    def _max_silence(self) -> float:
        if self._options.triggered:
            return math.inf
        timeout = self._options.read_timeout
        return self._period.max_silence(timeout, timeout if self._arrival is None else _SECOND_FRAME_TIMEOUT)

    def _note_arrival(self, packet: "av.Packet[Any]", started_at: float, now: float) -> None:
        """Record when the packet came, and how long it was waited for."""
        arrival = now, now - started_at
        # An interrupted read gives out what FFmpeg held back; nothing has arrived by then.
        was_interrupted = now - started_at >= self._options.poll_interval * 0.99
        if self._is_held_back:
            arrival, self._next_arrival = self._next_arrival or arrival, None if was_interrupted else arrival
        self._arrival = arrival
        self._shared_clock.observe(packet)
        self._period.frame_arrived(arrival[0])
        if not was_interrupted:
            self._silent_since = now
