"""Clips that are damaged on purpose, and what a camera made of them.

The same seed gives the same clip and the same damage. Odd seeds are MPEG-TS (start codes), even ones Matroska
(a length before each unit), so that both ways of packing H.264 and H.265 are tried.
"""

import io
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from monitor.capture.sources.base import Source
from monitor.capture.sources.opening import open_source
from monitor.records import Image
from tests.support.scripted_camera import make

WIDTH, HEIGHT, FPS, FRAMES, GOP = 320, 240, 15, 75, 15

CODING_NOISE = 12
"""Grey levels by which one pixel of an undamaged frame may differ."""


@dataclass(frozen=True)
class CodedFrame:
    """A packet: its bytes, time stamps in frame periods, and whether it can be decoded alone."""

    data: bytes
    pts: int
    dts: int
    is_key: bool


@dataclass(frozen=True)
class Clip:
    """A coded clip, with what is needed to write it again."""

    codec: str
    container: str
    packets: tuple[CodedFrame, ...]
    source: bytes

    def write(self, path: Path) -> Path:
        """Write the packets into a container; return its path."""
        original = path.with_suffix(".original")
        original.write_bytes(self.source)
        target = path.with_suffix({"matroska": ".mkv", "mpegts": ".ts"}[self.container])
        with av.open(str(original)) as template, av.open(str(target), "w", format=self.container) as output:
            stream = output.add_stream_from_template(template.streams.video[0])
            for coded in self.packets:
                packet = av.Packet(coded.data)
                packet.stream = stream
                packet.time_base = Fraction(1, FPS)
                packet.pts, packet.dts, packet.duration = coded.pts, coded.dts, 1
                packet.is_keyframe = coded.is_key
                output.mux(packet)
        return target


ENCODERS = {"mjpeg": "mjpeg", "h264": "libx264", "hevc": "libx265"}


def encoder_options(codec: str, seed: int, slices: int) -> dict[str, str]:
    """Options of the encoder: entropy coding, bidirectional frames and slices change with the seed."""
    if codec == "mjpeg":
        return {"qmin": "2", "qmax": "6", "huffman": "default"}
    bidirectional = 2 if seed % 3 == 2 else 0
    structure = f"keyint={GOP}:min-keyint={GOP}:scenecut=0:bframes={bidirectional}:slices={slices}"
    if codec == "h264":
        return {
            "preset": "veryfast" if seed % 4 < 2 else "ultrafast",
            "crf": "22",
            "x264-params": structure,
        }
    wpp = int(slices > 1 or seed // 2 % 2 == 1)
    return {
        "preset": "ultrafast",
        "crf": "22",
        "x265-params": f"log-level=none:{structure}:open-gop={seed % 2}:wpp={wpp}",
    }


def surface(seed: int, number: int) -> Image:
    """A textured surface that moves, with sensor noise and a bright part on it."""
    random_numbers = np.random.default_rng((seed, number))
    texture = np.random.default_rng(seed).integers(60, 190, (HEIGHT // 8, WIDTH // 8), np.uint8)
    grey = np.roll(np.kron(texture, np.ones((8, 8), np.uint8)), (3 * number, 2 * number), (0, 1)).astype(
        np.int16
    )
    grey += random_numbers.normal(0, 2, grey.shape).astype(np.int16)
    grey[60:100, 5 * number % (WIDTH - 40) :][:, :40] = 235
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@cache
def encode_clip(codec: str, seed: int, slices: int = 1, *, hashed: bool = False) -> Clip:
    """Encode FRAMES surfaces, a random access point every GOP frames; `hashed`: with picture hashes."""
    container = "mpegts" if seed % 2 and codec != "mjpeg" else "matroska"
    options = encoder_options(codec, seed, slices)
    if hashed:
        options["x265-params"] += ":hash=1"
    memory = io.BytesIO()
    with av.open(memory, "w", format=container) as output:
        stream = output.add_stream(ENCODERS[codec], rate=FPS, options=options)
        stream.width, stream.height = WIDTH, HEIGHT
        if codec == "mjpeg":
            stream.codec_context.thread_count = slices  # each ends at a restart mark
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if codec != "mjpeg":
            stream.codec_context.gop_size = GOP
        for number in range(FRAMES):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(surface(seed, number), format="bgr24")))
        output.mux(stream.encode())
    memory.seek(0)
    packets = []
    with av.open(memory) as source:
        stream = source.streams.video[0]
        for packet in source.demux(stream):
            if packet.size and packet.pts is not None:
                packets.append(
                    (bytes(packet), round(packet.pts * packet.time_base * FPS), packet.is_keyframe)
                )
    start = min(pts for _, pts, _ in packets)
    delay = max(number - (pts - start) for number, (_, pts, _) in enumerate(packets))
    shifted = tuple(
        CodedFrame(data, pts - start, number - delay, is_key)
        for number, (data, pts, is_key) in enumerate(packets)
    )
    return Clip(codec, container, shifted, memory.getvalue())


Damage = Callable[[Clip, random.Random], Clip]
"""Makes a damaged clip of a whole one."""

FIRST, LAST = 20, 58
"""Frames, in decoding order, that damages concern: after a camera's period is known, before the clip ends."""


def _change(clip: Clip, index: int, data: bytes | None) -> Clip:
    """Replace the bytes of one packet; None takes the packet away."""
    packets = list(clip.packets)
    if data is None:
        del packets[index]
    else:
        packets[index] = replace(packets[index], data=data)
    return replace(clip, packets=tuple(packets))


def _choose(clip: Clip, draw: random.Random, *, key: bool | None = None) -> int:
    """A packet to damage."""
    return draw.choice(
        [n for n, p in enumerate(clip.packets) if FIRST <= n < LAST and key in (None, p.is_key)]
    )


def cut_bytes(clip: Clip, draw: random.Random) -> Clip:
    """Leave 10 % to 90 % of one packet."""
    index = _choose(clip, draw)
    data = clip.packets[index].data
    return _change(clip, index, data[: int(len(data) * draw.uniform(0.1, 0.9))])


def drop_frame(clip: Clip, draw: random.Random) -> Clip:
    """Take away one frame that is no key frame (of MJPEG any frame)."""
    return _change(clip, _choose(clip, draw, key=clip.codec == "mjpeg"), None)


def drop_key_frame(clip: Clip, draw: random.Random) -> Clip:
    """Take away one key frame."""
    return _change(clip, _choose(clip, draw, key=True), None)


def drop_slice(clip: Clip, draw: random.Random) -> Clip:
    """Take away one slice of a frame of several (of MJPEG a restart interval)."""
    index = _choose(clip, draw)
    data = clip.packets[index].data
    if clip.codec == "mjpeg":
        scan = data.index(b"\xff\xda")
        marks = [n for n in range(scan, len(data) - 1) if data[n] == 0xFF and 0xD0 <= data[n + 1] <= 0xD7]
        place = draw.randrange(len(marks) - 1)
        return _change(clip, index, data[: marks[place]] + data[marks[place + 1] :])
    units = _units(clip, data)
    place = draw.choice([n for n, unit in enumerate(units) if _is_slice(clip.codec, unit)])
    return _change(clip, index, _join(clip, [unit for n, unit in enumerate(units) if n != place]))


def flip_bits(count: int) -> Damage:
    """Flip `count` bits within the coded pixels of one packet."""

    def flip(clip: Clip, draw: random.Random) -> Clip:
        index = _choose(clip, draw)
        data = bytearray(clip.packets[index].data)
        start = bytes(data).index(b"\xff\xda") + 14 if clip.codec == "mjpeg" else min(60, len(data) // 2)
        for _ in range(count):
            data[draw.randrange(start, len(data))] ^= 1 << draw.randrange(8)
        return _change(clip, index, bytes(data))

    return flip


def drop_two_seconds(clip: Clip, draw: random.Random) -> Clip:
    """Take away 2 s of frames before a key frame, so that the rest is whole."""
    keys = [n for n, packet in enumerate(clip.packets) if packet.is_key]
    end = draw.choice([key for key in keys if key - 2 * FPS >= FIRST - 4])
    return replace(clip, packets=clip.packets[: end - 2 * FPS] + clip.packets[end:])


def _units(clip: Clip, data: bytes) -> list[bytes]:
    if clip.container == "mpegts":
        parts = data.split(b"\0\0\1")[1:]
        return [part.removesuffix(b"\0") for part in parts]
    units = []
    while data:
        length = int.from_bytes(data[:4], "big")
        units.append(data[4 : 4 + length])
        data = data[4 + length :]
    return units


def _join(clip: Clip, units: list[bytes]) -> bytes:
    if clip.container == "mpegts":
        return b"".join(b"\0\0\0\1" + unit for unit in units)
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def _is_slice(codec: str, unit: bytes) -> bool:
    return unit[0] & 31 in (1, 5) if codec == "h264" else unit[0] >> 1 & 63 < 32


@dataclass(frozen=True)
class Inspection:
    """What a camera made of a clip: frames handed out, the wrong ones among them, and all that was lost."""

    frames: int
    wrong: int
    lost: Counter[str]
    unaccounted: int
    next_number: int


def decode_whole(path: Path) -> list[Image]:
    """All frames of an undamaged clip, with nothing of this program."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def inspect(open_clip: Callable[[], Source], whole: list[Image]) -> Inspection:
    """Run a camera over a clip, and compare each frame that it hands out with the undamaged ones."""
    camera, listener = make(open_clip, reopen=False)
    taken: list[tuple[int, Image]] = []
    camera.start()
    while not camera.ended:
        listener.woken.wait(0.2)
        listener.woken.clear()
        while frames := camera.take(3):
            taken += [(frame.number, frame.image.copy()) for frame in frames]
            del frames
    owners = Counter(number for number, _ in taken)
    lost: Counter[str] = Counter()
    for gap in listener.gaps:
        lost[gap.cause] += gap.frames
        for first, last in gap.numbers:
            owners.update(range(first, last + 1))
    total = camera.next_frame_number
    return Inspection(
        frames=len(taken),
        wrong=_count_wrong([image for _, image in taken], whole),
        lost=lost,
        unaccounted=sum(owners[number] != 1 for number in range(total))
        + len(set(owners) - set(range(total))),
        next_number=total,
    )


def inspect_file(path: Path, whole: list[Image]) -> Inspection:
    """As `inspect`, of a file."""
    return inspect(lambda: open_source(str(path)), whole)


def _count_wrong(images: list[Image], whole: list[Image]) -> int:
    """Frames that are none of the undamaged ones, or one from before the last that was found."""
    index = {image.tobytes(): number for number, image in enumerate(whole)}
    wrong, latest = 0, -1
    for image in images:
        number = index.get(image.tobytes())
        if number is None:
            number = next((n for n, other in enumerate(whole) if n > latest and _is_close(image, other)), -1)
        if number <= latest:
            wrong += 1
        else:
            latest = number
    return wrong


def _is_close(image: Image, other: Image) -> bool:
    return int(np.abs(image.astype(np.int16) - other.astype(np.int16)).max()) <= CODING_NOISE
