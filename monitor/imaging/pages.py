"""Find the pages of a TIFF file, each of which is an image of its own."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_SUBFILE_TYPE = 254

_NO_PAGE = 0b101
"""Bits of the subfile type: a reduced copy of another page, or a transparency mask."""

_MAX_PAGES = 100_000


def page_numbers(path: Path) -> list[int]:
    """Return the numbers, from 0, of a TIFF's directories that are pages of their own; [0] for other files.

    Where a file is damaged, a page that cannot be read comes last: reading it reports the damage.
    """
    if path.suffix.lower() not in {".tif", ".tiff"}:
        return [0]
    pages: list[int] = []
    try:
        with path.open("rb") as file:
            for page in _pages(file):
                pages.append(page)
    except (OSError, struct.error, KeyError):
        pages.append(pages[-1] + 1 if pages else 0)
    return pages or [0]


def _pages(file: BinaryIO) -> Iterator[int]:
    """Follow the directories (TIFF 6.0, section 2; BigTIFF has offsets of 64 bits)."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}[head[:2]]
    is_big = struct.unpack(order + "H", head[2:4])[0] == 43
    offset = struct.unpack(order + "Q", head[8:16])[0] if is_big else struct.unpack(order + "I", head[4:8])[0]
    count_format, link_format, entry_size = ("Q", "Q", 20) if is_big else ("H", "I", 12)
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < _MAX_PAGES:
        seen.add(offset)
        file.seek(offset)
        (count,) = struct.unpack(order + count_format, file.read(struct.calcsize(count_format)))
        entries = file.read(count * entry_size)
        (offset,) = struct.unpack(order + link_format, file.read(struct.calcsize(link_format)))
        if not _subfile_type(entries, order, entry_size) & _NO_PAGE:
            yield len(seen) - 1


def _subfile_type(entries: bytes, order: str, entry_size: int) -> int:
    for start in range(0, len(entries), entry_size):
        (tag,) = struct.unpack(order + "H", entries[start : start + 2])
        if tag == _SUBFILE_TYPE:
            value_at = start + (12 if entry_size == 20 else 8)
            return int(struct.unpack(order + "I", entries[value_at : value_at + 4])[0])
    return 0
