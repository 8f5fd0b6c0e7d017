"""The damage matrix: no frame that lacks data counts as whole, and every frame number is accounted for.

Three seeds by default, 20 with FAULTS=long; then the table is written to build/faults-damage.md.
"""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.support import damaged_rtp as rtp
from tests.support import damaged_video as video
from tests.support.camera_faults import FULL_RUN
from tests.support.damaged_video import FRAMES, Inspection
from tests.support.fault_tables import DAMAGE_TABLE

HEAD = (
    "| codec | damage | clips | damaged frames not marked | clips with such frames | frames marked | "
    "frames lost | found as lost | numbers unaccounted for |\n|---|---|--:|--:|--:|--:|--:|--:|--:|\n"
)

CODECS = ["mjpeg", "h264", "hevc"]

FILE_DAMAGES: dict[str, tuple[video.Damage, int]] = {
    "none": (lambda clip, _draw: clip, 0),
    "byte cut": (video.cut_bytes, 0),
    "missing frame": (video.drop_frame, 1),
    "missing slice": (video.drop_slice, 0),
    "missing IDR": (video.drop_key_frame, 1),
    "1 bit flipped": (video.flip_bits(1), 0),
    "20 bits flipped": (video.flip_bits(20), 0),
    "2 s of frames missing": (video.drop_two_seconds, 2 * video.FPS),
}

RTP_FAULTS: dict[str, tuple[rtp.Fault, int]] = {
    "none, RTP": (lambda frames, _draw: frames, 0),
    "packet loss 0.1 %, RTP": (rtp.lose(0.001), 0),
    "packet loss 1 %, RTP": (rtp.lose(0.01), 0),
    "stall of 2 s, RTP": (rtp.stall, 2 * rtp.RATE),
    "time stamps jump back 3 s, RTP": (rtp.jump(-3), 0),
    "time stamps jump forward 1 h, RTP": (rtp.jump(3600), 0),
}

SHORTFALLS = {
    ("mjpeg", "1 bit flipped"): 7,
    ("mjpeg", "20 bits flipped"): 2,
    ("h264", "1 bit flipped"): 4,
    ("h264", "20 bits flipped"): 1,
    ("hevc", "byte cut"): 5,
    ("hevc", "1 bit flipped"): 18,
    ("hevc", "20 bits flipped"): 18,
}
"""Clips of 20 whose damage is not found, as measured: README.md gives the reasons."""


@dataclass(frozen=True)
class Case:
    """One clip of the matrix: what a camera made of it, and how many frames it lacks."""

    found: Inspection
    missing: int


Record = Callable[[str, str, list[Case]], None]


@pytest.fixture(scope="module")
def record_damage() -> Iterator[Record]:
    """Collects the rows of the table, and writes them after a full run."""
    rows: list[str] = []

    def add(codec: str, damage: str, cases: list[Case]) -> None:
        found = [case.found for case in cases]
        cells = [
            len(cases),
            sum(one.wrong for one in found),
            sum(one.wrong > 0 for one in found),
            sum(one.lost["damaged"] + one.lost["unreadable"] for one in found),
            sum(case.missing for case in cases),
            sum(one.lost["lost-upstream"] for one in found),
            sum(one.unaccounted for one in found),
        ]
        rows.append(f"| {codec} | {damage} | {' | '.join(map(str, cells))} |\n")

    yield add
    if FULL_RUN:
        DAMAGE_TABLE.parent.mkdir(exist_ok=True)
        DAMAGE_TABLE.write_text(HEAD + "".join(rows))


def check(codec: str, damage: str, cases: list[Case]) -> None:
    found = [case.found for case in cases]
    assert sum(one.unaccounted for one in found) == 0
    assert sum(one.wrong > 0 for one in found) <= SHORTFALLS.get((codec, damage), 0)
    if damage.startswith(("none", "time stamps")):
        assert not any(+one.lost for one in found)
        assert {one.frames for one in found} == {FRAMES}


@pytest.mark.parametrize("damage", FILE_DAMAGES)
@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_file(
    codec: str, damage: str, times: Callable[[int, int], int], record_damage: Record, tmp_path: Path
):
    apply, missing = FILE_DAMAGES[damage]
    cases = []
    for seed in range(times(3, 20)):
        clip = video.encode_clip(codec, seed, slices=4 if damage == "missing slice" else 1)
        whole = video.decode_whole(clip.write(tmp_path / "whole"))
        damaged = apply(clip, random.Random(seed)).write(tmp_path / "damaged")
        cases.append(Case(video.inspect_file(damaged, whole), missing))
    record_damage(codec, damage, cases)
    check(codec, damage, cases)
    assert [case.found.next_number for case in cases] == [FRAMES] * len(cases)


def test_picture_hashes_show_every_flipped_bit_of_h265(
    times: Callable[[int, int], int], record_damage: Record, tmp_path: Path
):
    cases, flip = [], video.flip_bits(1)
    for seed in range(times(3, 20)):
        clip = video.encode_clip("hevc", seed, hashed=True)
        whole = video.decode_whole(clip.write(tmp_path / "whole"))
        assert not video.inspect_file(tmp_path / f"whole{'.ts' if seed % 2 else '.mkv'}", whole).lost
        damaged = flip(clip, random.Random(seed)).write(tmp_path / "damaged")
        cases.append(Case(video.inspect_file(damaged, whole), 0))
    record_damage("hevc", "1 bit flipped, picture hashes", cases)
    check("hevc", "1 bit flipped, picture hashes", cases)
    assert all(case.found.lost for case in cases)


@pytest.mark.parametrize("damage", RTP_FAULTS)
@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_stream(
    codec: str, damage: str, times: Callable[[int, int], int], record_damage: Record, tmp_path: Path
):
    apply, missing = RTP_FAULTS[damage]
    with ThreadPoolExecutor(4) as pool:
        cases = list(pool.map(partial(_stream, codec, apply, missing, tmp_path), range(times(1, 20))))
    record_damage(codec, damage, cases)
    check(codec, damage, cases)
    if not damage.startswith("packet loss"):
        assert [case.found.next_number for case in cases] == [FRAMES + missing] * len(cases)


def _stream(codec: str, apply: rtp.Fault, missing: int, folder: Path, number: int) -> Case:
    # Odd seeds have parameter sets in the stream; those of 1 mod 3 no bidirectional frames, as cameras.
    seed = 6 * number + 1
    folder /= str(seed)
    folder.mkdir()
    clip = video.encode_clip(codec, seed)
    whole = video.decode_whole(clip.write(folder / "whole"))
    frames = apply(rtp.packetize(clip, folder), random.Random(seed))
    gone = sum(not frame.packets for frame in frames)
    found = video.inspect(lambda: rtp.RtpSource(codec, frames, folder), whole)
    return Case(found, missing + gone)
