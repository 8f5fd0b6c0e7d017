"""Video through FFmpeg's libraries (PyAV): whole frames, and which frames are damaged."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import av
import av.error
import av.logging
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel

from monitor.capture.sources.base import FrameStamp
from monitor.capture.sources.bitstream import (
    AccessUnit,
    describe_access_unit,
    length_size,
    sequence_parameters,
    split_units,
    units_of_record,
)
from monitor.capture.sources.damage import DamageTracker, decoder_evidence, transport_evidence
from monitor.capture.sources.frame_conversion import Deinterlacer, to_image
from monitor.capture.sources.packets import DecoderOptions, PacketReader
from monitor.errors import DamagedError, ImageError, SourceError
from monitor.records import Image

logger = logging.getLogger(__name__)

_MAX_REORDER = 16
"""Frames that a decoder of H.264 or H.265 may hold back."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one coded frame: its pixels, or the error to raise instead."""

    shown_at: float | None
    frame: av.VideoFrame | None
    error: ImageError | None = None


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A frame that went into the decoder: its presentation time, and why it is damaged."""

    shown_at: float | None
    error: ImageError | None


_DEFAULT_OPTIONS = DecoderOptions()


class VideoDecoder:
    """Decode the first video stream of what FFmpeg opens as `url`.

    `display_name` stands for it in messages, `open_timeout` is in seconds.
    """

    def __init__(
        self,
        url: str,
        display_name: str,
        options: dict[str, str],
        *,
        open_timeout: float = 60.0,
        decoding: DecoderOptions = _DEFAULT_OPTIONS,
        hardware: HWAccel | None = None,
    ) -> None:
        self._name = display_name
        self._decoding = decoding
        opened_at = time.monotonic()
        self.stamp: FrameStamp | None = None
        # FFmpeg reports concealed parts of H.264 as information, not as an error.
        av.logging.set_level(av.logging.INFO)
        av.logging.set_skip_repeated(False)
        logging.getLogger("libav").setLevel(logging.CRITICAL)
        with av.logging.Capture():
            self._container = av.open(
                url,
                mode="r",
                options=options,
                timeout=(open_timeout, decoding.poll_interval),
                hwaccel=hardware,
                metadata_errors="replace",  # a title in another encoding is no reason to reject the video
            )
        video = self._container.streams.video
        if not video or video[0].codec_context is None:
            self._container.close()
            if video:
                raise SourceError("codec", f"{display_name}: its video codec is not supported")
            raise SourceError("no-video", f"{display_name}: holds no video")
        self._stream = video[0]
        context = self._stream.codec_context
        # Only with one thread FFmpeg reports what it conceals, in the thread that captures its messages.
        context.thread_count = 1
        # Otherwise H.265 gives no frame at all from a missing reference to the next random access point.
        context.flags |= Flags.output_corrupt
        context.copy_opaque = True
        context.options = {**context.options, "err_detect": "crccheck"}
        self._intra_only = context.codec.intra_only
        self._length_size = length_size(self.codec, context.extradata)
        self._sequence = sequence_parameters(units_of_record(context.extradata))
        self._packets = PacketReader(
            self._container,
            self._stream,
            decoding,
            opened_at,
            # FFmpeg gives out a frame when the next one begins. Frames of MJPEG state their length.
            is_held_back=url.startswith("rtsp") and self.codec != "mjpeg",
        )
        self._joined_at = None if decoding.joins_midway else 1
        self._has_end_marks = False
        self._damage = DamageTracker()
        self._outcomes: deque[_Outcome] = deque()
        self._ready: deque[_Outcome] = deque()  # of those, the ones that wait for no next frame
        self._interlaced: deque[_Outcome] = deque()
        self._deinterlacer = Deinterlacer()
        self._in_flight: dict[int, _InFlight] = {}
        self._vanished: deque[int] = deque(maxlen=2 * _MAX_REORDER)
        self._has_ordered_stamps = True
        self._packet_number = 0
        self.source_time: float | None = None

    @property
    def in_hardware(self) -> bool:
        """Whether a device decodes, not the processor."""
        return bool(self._stream.codec_context.is_hwaccel)

    @property
    def rate(self) -> float | None:
        """Frames per second as the container states, if it does."""
        return float(self._stream.average_rate) if self._stream.average_rate else None

    @property
    def codec(self) -> str:
        """How the frames are coded, such as `h264`."""
        return str(self._stream.codec_context.name)

    def read(self) -> Image | None:
        """Return the next frame, None at the end.

        Raises DamagedError for a frame decoded from incomplete data, or that refers to one or gave no pixels;
        ImageError for one that cannot be decoded; and FFmpeg's errors. `source_time` is that of the frame in
        each case.
        """
        while not self._ready:
            if self._outcomes:
                self._ready.extend(self._deinterlace(self._outcomes.popleft()))
                continue
            packet, lines = self._packets.read()
            if packet is None:
                self._ready.extend(self._finish_interlaced())
                if not self._ready:
                    return None
                break
            # A demuxer drops the whole image of an intra-only codec when a part of it is lost.
            if not self._intra_only and (loss := transport_evidence(lines)):
                self._damage.report_loss(loss)
            self._decode(packet)
        outcome = self._ready.popleft()
        self.source_time = outcome.shown_at
        self.stamp = self._packets.stamp(outcome.shown_at)
        if outcome.error is not None or outcome.frame is None:
            raise outcome.error or DamagedError(f"{self._name}: the decoder gave no pixels for a frame")
        return to_image(outcome.frame, self._decoding.bit_depth)

    def _deinterlace(self, outcome: _Outcome) -> Iterator[_Outcome]:
        """Make interlaced frames whole, each from its neighbours, but never from damaged ones."""
        if outcome.error is not None or outcome.frame is None:
            yield from self._finish_interlaced()
            yield outcome
            return
        self._interlaced.append(outcome)
        for frame in self._deinterlacer.push(outcome.frame):
            yield replace(self._interlaced.popleft(), frame=frame)

    def _finish_interlaced(self) -> Iterator[_Outcome]:
        for frame in self._deinterlacer.flush():
            yield replace(self._interlaced.popleft(), frame=frame)

    def close(self) -> None:
        """Close the container."""
        with av.logging.Capture():
            self._container.close()

    def _decode(self, packet: "av.Packet[Any]") -> None:
        """Decode one packet; an empty one ends the stream."""
        is_end = packet.size == 0
        unit = AccessUnit() if is_end else self._describe(packet)
        self._packet_number += 1
        packet.opaque = self._packet_number
        failure: av.error.FFmpegError | None = None
        frames: list[av.VideoFrame] = []
        with av.logging.Capture() as lines:
            try:
                frames = packet.decode()
            except av.error.EOFError:
                pass
            except av.error.InvalidDataError as error:
                failure = error
        if unit.slices:
            self._track(packet, unit, decoder_evidence(lines), failure)
        for frame in frames:
            self._take(frame)
        if is_end:
            self._drop_vanished(lambda _number, _entry: True)

    def _track(
        self,
        packet: "av.Packet[Any]",
        unit: AccessUnit,
        evidence: str | None,
        failure: av.error.FFmpegError | None,
    ) -> None:
        """Record a coded frame, and whether it is damaged."""
        shown_at = None if packet.pts is None else float(packet.pts * packet.time_base)
        if packet.is_corrupt or failure is not None:
            evidence = evidence or (str(failure.strerror) if failure else "a part of the packet is missing")
        if self.codec == "mjpeg":
            evidence = evidence or self._check_end_mark(bytes(packet))
        damage = self._damage.track(unit, shown_at, evidence)
        can_join = unit.is_random_access or unit.is_intra or unit.recovery_frames is not None
        if self._joined_at is None and not can_join:
            return
        self._joined_at = self._joined_at or self._packet_number
        error: ImageError | None = None
        if failure is not None:
            error = ImageError(f"{self._name}: a frame cannot be decoded: {evidence}")
        elif damage is not None:
            error = DamagedError(f"{self._name}: the frame is damaged: {damage}")
        self._in_flight[self._packet_number] = _InFlight(shown_at, error)
        reorder = 0 if self._intra_only and failure is not None else _MAX_REORDER
        self._drop_vanished(lambda number, _entry: number <= self._packet_number - reorder)

    def _take(self, frame: av.VideoFrame) -> None:
        """Take a decoded frame, after those that should have come before it and did not."""
        number = frame.opaque if isinstance(frame.opaque, int) else min(self._in_flight, default=0)
        if number in self._vanished:  # its time stamp is not in the order in which frames are shown
            self._has_ordered_stamps = False
            return
        if self._joined_at is None or number < self._joined_at:
            return
        entry = self._in_flight.pop(number, _InFlight(None, None))
        shown_at = frame.time if frame.pts is not None else entry.shown_at
        if frame.interlaced_frame:  # two packets, one for each field, can give one frame
            self._in_flight = {n: one for n, one in self._in_flight.items() if n > number or one.error}
        elif self._has_ordered_stamps:
            self._drop_vanished(lambda n, one: n < number and _is_before(one.shown_at, shown_at))
        error = entry.error
        if error is None and frame.is_corrupt:
            damage = "the decoder concealed missing parts or refers to a missing frame"
            error = DamagedError(f"{self._name}: the frame is damaged: {damage}")
            if not self._intra_only:
                self._damage.inherit(damage)
        self._outcomes.append(_Outcome(shown_at, frame, error))

    def _drop_vanished(self, is_vanished: Callable[[int, _InFlight], bool]) -> None:
        """Report frames that went into the decoder and never came out."""
        vanished = [number for number, entry in self._in_flight.items() if is_vanished(number, entry)]
        for number in vanished:
            entry = self._in_flight.pop(number)
            self._vanished.append(number)
            error = entry.error or DamagedError(f"{self._name}: the decoder gave no pixels for a frame")
            self._outcomes.append(_Outcome(entry.shown_at, None, error))

    def _describe(self, packet: "av.Packet[Any]") -> AccessUnit:
        if self.codec in ("h264", "hevc"):
            units, is_complete = split_units(bytes(packet), self._length_size)
            if self.codec == "h264":
                self._sequence = sequence_parameters(units) or self._sequence
            return describe_access_unit(self.codec, units, is_complete=is_complete, sequence=self._sequence)
        is_key = self._intra_only or packet.is_keyframe
        return AccessUnit(1, is_key, is_key, is_intra=is_key, is_reference=not self._intra_only)

    def _check_end_mark(self, data: bytes) -> str | None:
        """What is wrong with the end of a JPEG image; cameras that never send an end mark are accepted."""
        has_mark = b"\xff\xd9" in data.rstrip(b"\x00")[-64:]
        was_usual, self._has_end_marks = self._has_end_marks, self._has_end_marks or has_mark
        return "the JPEG image has no end mark" if was_usual and not has_mark else None


def _is_before(shown_at: float | None, other: float | None) -> bool:
    return shown_at is not None and other is not None and shown_at < other
