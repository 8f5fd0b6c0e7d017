"""A clip as RTP over UDP, with packets lost, late or stamped wrongly, and a source that receives it."""

import itertools
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error

from monitor.capture.sources.decoder import VideoDecoder
from monitor.capture.sources.packets import DecoderOptions
from monitor.records import Image
from tests.support.damaged_video import Clip

RATE = 60
"""Frames per second on the wire: the clips, made for fewer, pass in less time."""

_PACKET = 1000
_TYPES = {"h264": (96, "H264"), "hevc": (96, "H265"), "mjpeg": (26, "JPEG")}
_OPTIONS = {"protocol_whitelist": "file,udp,rtp", "fpsprobesize": "0", "analyzeduration": "1"}


@dataclass(frozen=True)
class RtpFrame:
    """The packets of one frame, and when it is sent, in seconds after the first one."""

    packets: tuple[bytes, ...]
    at: float


Fault = Callable[[list[RtpFrame], random.Random], list[RtpFrame]]
"""What happens to a stream on its way."""


def packetize(clip: Clip, folder: Path) -> list[RtpFrame]:
    """Cut a clip into RTP packets."""
    path = clip.write(folder / "sent")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.2)
        url = f"rtp://127.0.0.1:{receiver.getsockname()[1]}?pkt_size={_PACKET}"
        kind = _TYPES[clip.codec][0]
        frames = []
        delay = max(number - packet.pts for number, packet in enumerate(clip.packets))
        with (
            av.open(str(path)) as source,
            av.open(url, "w", format="rtp", options={"payload_type": str(kind)}) as out,
        ):
            stream = out.add_stream_from_template(source.streams.video[0])
            for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
                coded = av.Packet(bytes(packet))
                coded.stream, coded.time_base = stream, Fraction(1, RATE)
                coded.pts, coded.dts = clip.packets[number].pts, number - delay
                coded.is_keyframe = packet.is_keyframe
                out.mux(coded)
                frames.append(RtpFrame(_drain(receiver), number / RATE))
    return frames


def _drain(receiver: socket.socket) -> tuple[bytes, ...]:
    """The packets of a frame: up to the one with the marker bit."""
    packets = []
    while True:
        packets.append(receiver.recv(2000))
        if packets[-1][1] & 0x80:
            return tuple(packets)


def lose(fraction: float) -> Fault:
    """Lose packets at random, none of the first frame, and at least one."""

    def apply(frames: list[RtpFrame], draw: random.Random) -> list[RtpFrame]:
        places = [(n, m) for n, frame in enumerate(frames[1:-4], 1) for m in range(len(frame.packets))]
        lost = {place for place in places if draw.random() < fraction} or {draw.choice(places)}
        return [
            RtpFrame(tuple(packet for m, packet in enumerate(frame.packets) if (n, m) not in lost), frame.at)
            for n, frame in enumerate(frames)
        ]

    return apply


def stall(frames: list[RtpFrame], draw: random.Random) -> list[RtpFrame]:
    """Send nothing for 2 s, the frames of which are lost; RTP numbers go on, as after a fault in a camera."""
    start = draw.randrange(25, 60)
    ticks = 2 * 90_000
    return frames[:start] + [_shift(frame, ticks, 2.0) for frame in frames[start:]]


def jump(seconds: float) -> Fault:
    """Let the time stamps jump; no frame is lost and none is late."""

    def apply(frames: list[RtpFrame], draw: random.Random) -> list[RtpFrame]:
        start = draw.randrange(25, 60)
        return frames[:start] + [_shift(frame, int(seconds * 90_000), 0.0) for frame in frames[start:]]

    return apply


def _shift(frame: RtpFrame, ticks: int, delay: float) -> RtpFrame:
    packets = []
    for packet in frame.packets:
        stamp = (int.from_bytes(packet[4:8], "big") + ticks) % 2**32
        packets.append(packet[:4] + stamp.to_bytes(4, "big") + packet[8:])
    return RtpFrame(tuple(packets), frame.at + delay)


class RtpSource:
    """Receives what a thread sends at the pace of the frames, up to a pause longer than any gap in them."""

    live = False
    frame_interval = None

    def __init__(self, codec: str, frames: list[RtpFrame], folder: Path) -> None:
        port = _free_port()
        gaps = [later.at - frame.at for frame, later in itertools.pairwise(frames)]
        pause = max(gaps) + 0.8
        kind, name = _TYPES[codec]
        description = folder / f"{port}.sdp"
        description.write_text(
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=test\nc=IN IP4 127.0.0.1\nt=0 0\n"
            f"m=video {port} RTP/AVP {kind}\na=rtpmap:{kind} {name}/90000\n"
        )
        threading.Thread(target=_send, args=(frames, port), daemon=True).start()
        self._video = VideoDecoder(
            str(description),
            "stream",
            _OPTIONS,
            open_timeout=10.0,
            decoding=DecoderOptions(read_timeout=pause, joins_midway=True),
        )

    @property
    def source_time(self) -> float | None:
        """Seconds on the sender's clock."""
        return self._video.source_time

    stream_time = source_time

    def read(self) -> Image | None:
        """The next frame, None after the last."""
        try:
            return self._video.read()
        except av.error.FFmpegError:
            return None

    def close(self) -> None:
        """Close the socket."""
        self._video.close()


_PORTS = itertools.count(20_000 + os.getpid() % 5_000 * 2, 2)
"""Even ports, each with the next one for RTCP: streams run side by side."""


def _free_port() -> int:
    return next(port for port in _PORTS if not _is_bound(port) and not _is_bound(port + 1))


def _send(frames: list[RtpFrame], port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while not _is_bound(port):
            time.sleep(0.005)
        started = time.monotonic()
        for frame in frames:
            time.sleep(max(0.0, started + frame.at - time.monotonic()))
            for packet in frame.packets:
                sender.sendto(packet, ("127.0.0.1", port))


def _is_bound(port: int) -> bool:
    """Look it up: to try to bind the port would take it from the receiver for a moment."""
    local = f":{port:04X} "
    return any(local in Path(f"/proc/net/{table}").read_text() for table in ("udp", "udp6"))
