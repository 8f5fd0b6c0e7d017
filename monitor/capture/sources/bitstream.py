"""What the headers of a packet of H.264 or H.265 say about its frame. Pure; decodes no pixels."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_START_CODE = re.compile(rb"\x00\x00\x01")
_EMULATION = re.compile(rb"\x00\x00\x03")
_RECOVERY_POINT = 6
"""SEI payload type of a recovery point (H.264 annex D.1, H.265 annex D.2)."""


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """The parts of one packet that decide which frames depend on which.

    `slices`: number of slice units; 0 for a packet without a frame. `is_idr`: no later frame refers to an
    earlier one. `is_random_access`: no later frame refers to an earlier one, except frames shown before this
    one. `is_leading`: may be decoded wrongly after a random access (H.265 RASL). `is_intra`: refers to no
    other frame. `is_reference`: later frames may refer to it. `recovery_frames`: the frame from which on the
    stream is clean, counted from this one. `is_complete`: each unit has the length that its prefix states.
    `frame_number`: of H.264, modulo `frame_numbers`; None where it is unknown or may skip values.
    """

    slices: int = 0
    is_idr: bool = False
    is_random_access: bool = False
    is_leading: bool = False
    is_intra: bool = False
    is_reference: bool = True
    recovery_frames: int | None = None
    is_complete: bool = True
    frame_number: int | None = None
    frame_numbers: int = 1


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """The parts of an H.264 sequence parameter set that frame numbers depend on.

    `gaps_allowed`: numbers may skip values on purpose (temporal layers).
    """

    frame_number_bits: int
    gaps_allowed: bool
    has_separate_planes: bool = False


def describe_access_unit(
    codec: str,
    units: Sequence[bytes],
    *,
    is_complete: bool = True,
    sequence: SequenceParameters | None = None,
) -> AccessUnit:
    """Read the headers of the NAL units of one packet of `codec` (`h264` or `hevc`).

    Never raises: what cannot be read is left at its default.
    """
    if codec == "h264":
        return _read_h264(units, is_complete, sequence)
    return _read_hevc(units, is_complete)


def split_units(packet: bytes, length_size: int = 0) -> tuple[list[bytes], bool]:
    """Split a packet into its NAL units; and whether they fill it without a rest."""
    if length_size == 0:
        starts = [match.end() for match in _START_CODE.finditer(packet)]
        ends = [start - 3 for start in starts[1:]] + [len(packet)]
        return [packet[start:end] for start, end in zip(starts, ends, strict=False) if end > start], True
    units, at = [], 0
    while at + length_size <= len(packet):
        length = int.from_bytes(packet[at : at + length_size], "big")
        at += length_size
        if unit := packet[at : at + length]:
            units.append(unit)
        at += length
    return units, at == len(packet)


def length_size(codec: str, extradata: bytes | None) -> int:
    """Bytes of the length before each unit, from the decoder configuration record; 0 for start codes."""
    place = 4 if codec == "h264" else 21
    if not extradata or extradata[0] != 1 or len(extradata) <= place:
        return 0
    return (extradata[place] & 3) + 1


def sequence_parameters(units: Sequence[bytes]) -> SequenceParameters | None:
    """Read the H.264 sequence parameter set among NAL units; None if there is none."""
    for unit in units:
        if unit[0] & 31 == 7:
            try:
                return _read_sequence_parameters(_Bits(_unescape(unit[1:])))
            except IndexError:
                return None
    return None


def units_of_record(extradata: bytes | None) -> list[bytes]:
    """The first parameter set of an H.264 decoder configuration record, or the units of plain extradata."""
    if not extradata:
        return []
    if extradata[0] != 1:
        return split_units(extradata)[0]
    length = int.from_bytes(extradata[6:8], "big")
    return [extradata[8 : 8 + length]] if len(extradata) > 8 and length else []


def _read_h264(units: Sequence[bytes], is_complete: bool, sequence: SequenceParameters | None) -> AccessUnit:
    slices = [unit for unit in units if unit[0] & 31 in (1, 5)]
    headers = [_slice_header(unit, sequence) for unit in slices]
    is_idr = any(unit[0] & 31 == 5 for unit in slices)
    recovery = _recovery_point([unit[1:] for unit in units if unit[0] & 31 == 6], signed=False)
    return AccessUnit(
        slices=len(slices),
        is_idr=is_idr,
        is_random_access=is_idr or recovery == 0,
        is_intra=bool(slices) and all(kind in (2, 4) for kind, _ in headers),
        is_reference=any(unit[0] >> 5 & 3 for unit in slices),
        recovery_frames=recovery,
        is_complete=is_complete,
        frame_number=headers[0][1] if headers else None,
        frame_numbers=1 if sequence is None else 1 << sequence.frame_number_bits,
    )


def _read_hevc(units: Sequence[bytes], is_complete: bool) -> AccessUnit:
    kinds = [unit[0] >> 1 & 63 for unit in units]
    slices = [kind for kind in kinds if kind < 32]
    recovery = _recovery_point(
        [unit[2:] for unit, kind in zip(units, kinds, strict=True) if kind == 39], signed=True
    )
    return AccessUnit(
        slices=len(slices),
        is_idr=any(19 <= kind <= 20 for kind in slices),
        is_random_access=any(16 <= kind <= 23 for kind in slices) or recovery == 0,
        is_leading=any(kind in (8, 9) for kind in slices),
        is_intra=any(16 <= kind <= 23 for kind in slices),
        recovery_frames=recovery,
        is_complete=is_complete,
    )


def _unescape(payload: bytes) -> bytes:
    """Remove the emulation prevention bytes (H.264 7.4.1)."""
    return _EMULATION.sub(b"\x00\x00", payload)


def _slice_header(unit: bytes, sequence: SequenceParameters | None) -> tuple[int | None, int | None]:
    """Read slice type (0..4: 2 is I, 4 is SI) and frame number of an H.264 slice (7.3.3)."""
    kind = None
    try:
        bits = _Bits(_unescape(unit[1:24]))
        bits.unsigned()  # first_mb_in_slice
        kind = bits.unsigned() % 5
        bits.unsigned()  # pic_parameter_set_id
        if sequence is None or sequence.gaps_allowed:
            return kind, None
        bits.fixed(2 if sequence.has_separate_planes else 0)
        return kind, bits.fixed(sequence.frame_number_bits)
    except IndexError:
        return kind, None


def _recovery_point(messages: Sequence[bytes], *, signed: bool) -> int | None:
    for message in messages:
        for kind, payload in _sei_payloads(_unescape(message)):
            if kind == _RECOVERY_POINT:
                try:
                    bits = _Bits(payload)
                    return max(0, bits.signed() if signed else bits.unsigned())
                except IndexError:
                    return None
    return None


def _sei_payloads(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data) and data[at] != 0x80:
        values = []
        for _ in range(2):
            value = 0
            while at < len(data) and data[at] == 0xFF:
                value, at = value + 255, at + 1
            values.append(value + (data[at] if at < len(data) else 0))
            at += 1
        kind, size = values
        yield kind, data[at : at + size]
        at += size


_PROFILES_WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)


def _read_sequence_parameters(bits: "_Bits") -> SequenceParameters:
    """Read an H.264 sequence parameter set up to gaps_in_frame_num_value_allowed_flag (7.3.2.1.1)."""
    separate = False
    profile = bits.fixed(8)
    bits.fixed(16)
    bits.unsigned()  # seq_parameter_set_id
    if profile in _PROFILES_WITH_CHROMA:
        chroma = bits.unsigned()
        if chroma == 3:
            separate = bool(bits.fixed(1))
        bits.unsigned()
        bits.unsigned()
        bits.fixed(1)
        if bits.fixed(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.fixed(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    frame_number_bits = bits.unsigned() + 4
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.fixed(1)
        bits.signed()
        bits.signed()
        for _ in range(bits.unsigned()):
            bits.signed()
    bits.unsigned()  # max_num_ref_frames
    return SequenceParameters(frame_number_bits, bool(bits.fixed(1)), separate)


def _skip_scaling_list(bits: "_Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


class _Bits:
    """Reads a payload bit by bit. Raises IndexError at its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def fixed(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def unsigned(self) -> int:
        """An Exp-Golomb code (H.264 9.1)."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
        return (1 << zeros) - 1 + self.fixed(zeros)

    def signed(self) -> int:
        """A signed Exp-Golomb code (H.264 9.1.1)."""
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)
