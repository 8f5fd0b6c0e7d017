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
    """

    slices: int = 0
    is_idr: bool = False
    is_random_access: bool = False
    is_leading: bool = False
    is_intra: bool = False
    is_reference: bool = True
    recovery_frames: int | None = None
    is_complete: bool = True


def parse_access_unit(codec: str, packet: bytes, length_size: int = 0) -> AccessUnit:
    """Read the headers of a packet of `codec` (`h264` or `hevc`).

    `length_size`: bytes of the length before each unit (MP4); 0 for start codes. Never raises: what cannot be
    read is left at its default.
    """
    units, is_complete = split_units(packet, length_size)
    read = _read_h264 if codec == "h264" else _read_hevc
    return read(units, is_complete)


def split_units(packet: bytes, length_size: int = 0) -> tuple[list[bytes], bool]:
    """Split a packet into its NAL units; and whether they fill it without a rest."""
    if length_size == 0:
        starts = [match.end() for match in _START_CODE.finditer(packet)]
        ends = [start - 3 for start in starts[1:]] + [len(packet)]
        return [packet[start:end] for start, end in zip(starts, ends, strict=True) if end > start], True
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


def allows_frame_number_gaps(extradata_or_packet: bytes, length_size: int = 0) -> bool | None:
    """Whether H.264 frame numbers may skip values on purpose (temporal layers); None without an SPS."""
    for unit in split_units(extradata_or_packet, length_size)[0]:
        if unit[0] & 31 == 7:
            try:
                return _gaps_allowed(_Bits(_unescape(unit[1:])))
            except IndexError:
                return None
    return None


def _read_h264(units: Sequence[bytes], is_complete: bool) -> AccessUnit:
    slices = [unit for unit in units if unit[0] & 31 in (1, 5)]
    is_idr = any(unit[0] & 31 == 5 for unit in slices)
    recovery = _recovery_point([unit[1:] for unit in units if unit[0] & 31 == 6], signed=False)
    return AccessUnit(
        slices=len(slices),
        is_idr=is_idr,
        is_random_access=is_idr or recovery == 0,
        is_intra=bool(slices) and all(_slice_type(unit) in (2, 4) for unit in slices),
        is_reference=any(unit[0] >> 5 & 3 for unit in slices),
        recovery_frames=recovery,
        is_complete=is_complete,
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


def _slice_type(unit: bytes) -> int | None:
    """The slice type of H.264 (7.4.3), 0..4: 2 is I, 4 is SI."""
    try:
        bits = _Bits(_unescape(unit[1:24]))
        bits.unsigned()  # first_mb_in_slice
        return bits.unsigned() % 5
    except IndexError:
        return None


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


def _gaps_allowed(bits: "_Bits") -> bool:
    """Read an H.264 sequence parameter set up to gaps_in_frame_num_value_allowed_flag (7.3.2.1.1)."""
    profile = bits.fixed(8)
    bits.fixed(16)
    bits.unsigned()  # seq_parameter_set_id
    if profile in _PROFILES_WITH_CHROMA:
        chroma = bits.unsigned()
        if chroma == 3:
            bits.fixed(1)
        bits.unsigned()
        bits.unsigned()
        bits.fixed(1)
        if bits.fixed(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.fixed(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.unsigned()  # log2_max_frame_num_minus4
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
    return bool(bits.fixed(1))


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
