"""Frames that lack data, and those that refer to them, are damaged until the stream is clean again."""

from dataclasses import replace
from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.sources.bitstream import (
    AccessUnit,
    SequenceParameters,
    describe_access_unit,
    sequence_parameters,
    split_units,
    units_of_record,
)
from monitor.capture.sources.damage import DamageTracker, decoder_evidence, transport_evidence
from tests.support.damaged_video import FRAMES, GOP, encode_clip

IDR = AccessUnit(1, is_idr=True, is_random_access=True, is_intra=True)
OPEN = AccessUnit(1, is_random_access=True, is_intra=True)
INTER = AccessUnit(1)
DISPOSABLE = AccessUnit(1, is_reference=False)
INTRA = AccessUnit(1, is_intra=True)


def track(*frames: tuple[AccessUnit, float, str | None]) -> list[bool]:
    tracker = DamageTracker()
    return [tracker.track(unit, shown_at, evidence) is not None for unit, shown_at, evidence in frames]


def test_damage_lasts_until_the_next_random_access_point():
    assert track((IDR, 0, None), (INTER, 1, "cut"), (INTER, 2, None), (IDR, 3, None), (INTER, 4, None)) == [
        *(False, True, True),
        *(False, False),
    ]


def test_damage_of_a_frame_that_none_refers_to_is_its_own():
    assert track((IDR, 0, None), (DISPOSABLE, 1, "cut"), (INTER, 2, None)) == [False, True, False]


def test_frames_shown_before_an_open_random_access_point_stay_damaged():
    frames = [(IDR, 0, None), (INTER, 1, "cut"), (OPEN, 4, None), (INTER, 2, None), (INTER, 3, None)]
    assert track(*frames, (INTER, 5, None), (INTER, 6, None)) == [
        False,
        True,
        False,
        True,
        True,
        False,
        False,
    ]


def test_a_damaged_random_access_point_damages_what_follows():
    assert track((IDR, 0, "cut"), (INTER, 1, None), (IDR, 2, None)) == [True, True, False]


def test_intra_refresh_is_clean_after_the_frames_that_it_announces():
    refresh = AccessUnit(1, recovery_frames=2)
    frames = [(IDR, 0, None), (INTER, 1, "cut"), (refresh, 2, None), (INTER, 3, None), (INTER, 4, None)]
    assert track(*frames, (INTER, 5, None)) == [False, True, True, True, False, False]
    frames[3] = (INTER, 3, "cut again")
    assert track(*frames, (INTER, 5, None)) == [False, True, True, True, True, True]


def test_a_stream_that_marks_no_random_access_is_clean_at_its_second_intra_frame():
    frames = [(INTRA, 0, None), (INTER, 1, "cut"), (INTRA, 2, None), (INTER, 3, None), (INTRA, 4, None)]
    assert track(*frames)[:2] == [False, True]
    assert track(*frames)[-1] is False


def test_a_loss_on_the_way_reaches_the_packets_that_the_parser_had_read_ahead():
    tracker = DamageTracker()
    tracker.track(IDR, 0, None)
    tracker.report_loss("RTP: missed 1 packets")
    damaged = [tracker.track(unit, 1, None) is not None for unit in (INTER, IDR, INTER, IDR, INTER)]
    assert damaged == [True, True, True, False, False]


def test_fewer_slices_than_usual_are_damage_and_a_new_usual_number_is_not():
    tracker = DamageTracker()
    tracker.track(IDR, 0, None)
    for _ in range(8):
        assert tracker.track(AccessUnit(4), 1, None) is None
    assert tracker.track(AccessUnit(3), 1, None) == "3 of 4 slices arrived"
    assert tracker.track(IDR, 2, None) is None
    assert [tracker.track(AccessUnit(3), 3, None) for _ in range(9)] == [None] * 9


UNITS = st.sampled_from([IDR, OPEN, INTER, DISPOSABLE, INTRA, AccessUnit(1, recovery_frames=1)])


@given(st.lists(st.tuples(UNITS, st.booleans()), max_size=40))
def test_a_frame_with_evidence_is_always_damaged_and_a_stream_without_any_never(
    steps: list[tuple[AccessUnit, bool]],
):
    tracker, whole = DamageTracker(), DamageTracker()
    for number, (unit, has_evidence) in enumerate(steps):
        assert whole.track(unit, number, None) is None
        damage = tracker.track(unit, number, "cut" if has_evidence else None)
        assert damage is not None or not has_evidence


@pytest.mark.parametrize(
    ("level", "text", "is_evidence"),
    [
        (16, "error while decoding MB 18 0, bytestream -5", True),
        (32, "concealing 300 DC, 300 AC, 300 MV errors in P frame\n", True),
        (24, "Skipping invalid undecodable NALU: 1", True),
        (16, "overread 8", True),
        (16, "unable to decode APP fields: Invalid data found", False),
        (16, "SEI type 5 size 200 truncated at 100", False),
        (48, "nal_unit_type: 1(Coded slice), nal_ref_idc: 2", False),
        (24, "deprecated pixel format used, make sure you did set range correctly", False),
    ],
)
def test_which_messages_of_a_decoder_are_evidence(level: int, text: str, is_evidence: bool):
    assert (decoder_evidence([(level, "h264", text)]) is not None) == is_evidence


def test_a_skipped_frame_number_is_a_missing_reference_frame():
    def unit(number: int, *, is_reference: bool = True, is_idr: bool = False) -> AccessUnit:
        return replace(
            IDR if is_idr else INTER, is_reference=is_reference, frame_number=number, frame_numbers=16
        )

    tracker = DamageTracker()
    whole = [unit(0, is_idr=True), unit(1), unit(2, is_reference=False), unit(2), unit(3)]
    assert [tracker.track(one, 0, None) for one in whole] == [None] * 5
    assert tracker.track(unit(4, is_reference=False), 0, None) is None
    assert (
        tracker.track(unit(5), 0, None) == "a reference frame is missing between the frames numbered 3 and 5"
    )
    assert tracker.track(unit(0, is_idr=True), 0, None) is None
    for number in range(1, 40):
        assert tracker.track(unit(number % 16), 0, None) is None


def test_lost_packets_are_evidence():
    assert transport_evidence([(24, "rtsp", "RTP: missed 3 packets\n")]) == "RTP: missed 3 packets"
    assert transport_evidence([(24, "rtsp", "max delay reached. need to consume packet")]) is None


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_headers_of_real_streams_are_read(codec: str, seed: int):
    clip = encode_clip(codec, seed, slices=2)
    length = 4 if clip.container == "matroska" else 0
    units, sequence = [], None
    for packet in clip.packets:
        parts, is_complete = split_units(packet.data, length)
        sequence = sequence_parameters(parts) or sequence
        units.append(describe_access_unit(codec, parts, is_complete=is_complete, sequence=sequence))
    assert all(unit.is_complete for unit in units)
    assert {unit.slices for unit in units} == {2}
    assert sum(unit.is_random_access for unit in units) == FRAMES // GOP
    assert units[0].is_random_access
    assert all(unit.is_intra for unit in units if unit.is_random_access)


@given(st.binary(max_size=200), st.sampled_from([0, 1, 2, 4]), st.sampled_from(["h264", "hevc"]))
def test_no_bytes_make_the_parser_fail(data: bytes, length: int, codec: str):
    units, is_complete = split_units(data, length)
    assert describe_access_unit(codec, units, is_complete=is_complete).slices <= len(units)
    sequence_parameters(units)
    sequence_parameters(units_of_record(data))


@given(st.lists(st.binary(min_size=1, max_size=300).filter(lambda unit: unit[-1] != 0), max_size=8))
def test_units_are_split_as_they_were_joined(units: list[bytes]):
    joined = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
    assert split_units(joined, 4) == (units, True)
    assert split_units(joined + b"\x00", 4)[1] is False
    if units:
        assert split_units(joined[:-1], 4)[1] is False


def test_intra_refresh_of_a_real_encoder_announces_when_it_is_clean():
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 64, 64, "yuv420p"
    context.time_base = Fraction(1, 15)
    context.options = {"x264-params": "intra-refresh=1:keyint=15:bframes=0", "tune": "zerolatency"}
    packets = [p for n in range(40) for p in context.encode(_grey(n))]
    recoveries = [
        describe_access_unit("h264", split_units(bytes(packet))[0]).recovery_frames for packet in packets
    ]
    assert any(frames for frames in recoveries if frames)


@pytest.mark.parametrize("profile", ["baseline", "main", "high", "high444"])
def test_the_sequence_parameters_of_a_real_encoder_are_read(profile: str):
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height = 64, 64
    context.pix_fmt = "yuv444p" if profile == "high444" else "yuv420p"
    context.time_base = Fraction(1, 15)
    context.options = {"profile": profile, "x264-params": "cqm=jvt"}
    packets = context.encode(_grey(0).reformat(format=context.pix_fmt)) + context.encode()
    found = sequence_parameters(split_units(b"".join(map(bytes, packets)))[0])
    assert found is not None
    assert not found.gaps_allowed
    assert 4 <= found.frame_number_bits <= 16
    assert found == SequenceParameters(found.frame_number_bits, gaps_allowed=False)


def _grey(number: int) -> av.VideoFrame:
    frame = av.VideoFrame(64, 64, "yuv420p")
    frame.pts = number
    return frame
