"""How many bits the values of an image use, and how they become 8. Pure.

Images of 10, 12 and 14 bits are often saved in files or streams of 16 bits. Read as 16 bits, they are dark or
black. The depth is taken from the container, else from the setting, and never guessed from one image:
a dark image would come out bright.
"""

import re
import struct

import numpy as np
from numpy.typing import NDArray

from monitor.errors import UnusableError

_USUAL_DEPTHS = (8, 10, 12, 14, 16)


_SUSPICIOUS_BITS = 14
"""An image of 16 bits that uses no more is at most a quarter as bright as it could be: it is refused."""


_NETPBM = re.compile(rb"P[2356](?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+(\d+)")


def declared_maximum(data: bytes) -> int | None:
    """Return the highest value that an image file says its pixels may have; None where it says none.

    Reads the header of PGM and PPM, the significant bits of PNG (sBIT) and the maximum of TIFF
    (MaxSampleValue, SMaxSampleValue).
    """
    if match := _NETPBM.match(data[:1000]):
        return int(match[1])
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_maximum(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff_maximum(data)
    return None


def scale_to_8_bits(
    values: NDArray[np.uint16], maximum: int | None, bit_depth: int | None
) -> NDArray[np.uint8]:
    """Return `values`, of any shape, as 0..255.

    `maximum` is what the container declares, `bit_depth` (8..16) what the settings say; the settings win.
    Raises UnusableError  where neither is known and the values use too few bits.
    """
    highest = int(values.max(initial=0))
    if bit_depth is not None:
        maximum = (1 << bit_depth) - 1
        if highest > maximum:
            raise UnusableError(f"values use {highest.bit_length()} bits, more than bit_depth = {bit_depth}")
    elif maximum is None:
        maximum = 0xFFFF
        used = highest.bit_length()
        if used <= _SUSPICIOUS_BITS:
            depth = next(usual for usual in _USUAL_DEPTHS if used <= usual)
            raise UnusableError(
                f"values use {used} of 16 bits: set bit_depth = {depth} where the camera delivers {depth} "
                "bits, or bit_depth = 16 where the image is dark"
            )
    elif highest > maximum:
        # The PNG standard wants values spread over all 16 bits, whatever sBIT says; some writers do so.
        maximum = 0xFFFF
    return np.asarray(np.rint(values * np.float32(255 / maximum)), np.uint8)


def _png_maximum(data: bytes) -> int | None:
    place = 8
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"sBIT" and length and place + 8 + length <= len(data):
            return (1 << max(data[place + 8 : place + 8 + min(length, 3)])) - 1
        if kind == b"IDAT":
            return None
        place += 12 + length
    return None


def _tiff_maximum(data: bytes) -> int | None:
    order = "<" if data[:2] == b"II" else ">"
    try:
        place = struct.unpack_from(f"{order}I", data, 4)[0]
        count = struct.unpack_from(f"{order}H", data, place)[0]
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", data, entry)
            if tag in (281, 341) and kind == 3 and values:
                at = entry + 8 if values <= 2 else struct.unpack_from(f"{order}I", data, entry + 8)[0]
                found = int(struct.unpack_from(f"{order}H", data, at)[0])
                # The highest value of this image, which some writers give here, says nothing of the others.
                return found if found > 1 and (found + 1).bit_count() == 1 else None
    except struct.error:
        return None
    return None
