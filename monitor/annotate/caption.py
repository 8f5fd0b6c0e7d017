"""The caption below a picture: lines of text on a dark strip, broken where the picture is narrow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from monitor.records import Image

_FONT = cv2.FONT_HERSHEY_SIMPLEX  # OpenCV 5 draws it as a TrueType face that knows Unicode
_STRIP = (32, 28, 26)
_DIM = (170, 170, 170)


@dataclass(frozen=True, slots=True)
class Line:
    """`text` on the left in `colour` (blue, green, red); `beside` dim on the right, or below if too long."""

    text: str
    colour: tuple[int, int, int]
    bold: bool = False
    beside: str = ""


def caption(lines: Sequence[Line], width: int, *, text_height: int) -> Image:
    """A strip (whatever height the text needs, `width`, 3) with the lines on it; `text_height` in pixels."""
    scale = cv2.getFontScaleFromHeight(_FONT, text_height, 1)
    margin = max(2, text_height // 2)
    pitch = round(text_height * 1.7)
    room = width - 2 * margin

    rows: list[list[tuple[str, tuple[int, int, int], int, int]]] = []  # (text, colour, thickness, x)
    for line in lines:
        thickness = _thickness(text_height, bold=line.bold)
        pieces = list(_broken(line.text, room, scale, thickness))
        rows.extend([(piece, line.colour, thickness, margin)] for piece in pieces)
        thin = _thickness(text_height)
        across = _width(line.beside, scale, thin)
        if line.beside and _width(pieces[-1], scale, thickness) + 2 * margin + across <= room:
            rows[-1].append((line.beside, _DIM, thin, width - margin - across))
        elif line.beside:
            rows.extend([(piece, _DIM, thin, margin)] for piece in _broken(line.beside, room, scale, thin))

    strip = np.full((pitch * len(rows) + margin, width, 3), _STRIP, np.uint8)
    for index, row in enumerate(rows):
        baseline = pitch * (index + 1) - (pitch - text_height) // 2 + margin // 2
        for text, colour, thickness, x in row:
            cv2.putText(strip, text, (x, baseline), _FONT, scale, colour, thickness, cv2.LINE_AA)
    return strip


def _thickness(text_height: int, *, bold: bool = False) -> int:
    return max(1, round(text_height / (8 if bold else 14)))


def _width(text: str, scale: float, thickness: int) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, thickness)[0][0])


def _broken(text: str, room: int, scale: float, thickness: int) -> Iterator[str]:
    """The text in pieces that fit into `room` pixels, broken between words where that is possible."""
    while _width(text, scale, thickness) > room and len(text) > 1:
        fits = next((n for n in range(len(text) - 1, 1, -1) if _width(text[:n], scale, thickness) <= room), 1)
        space = text.rfind(" ", 1, fits + 1)
        cut = space if space > 0 else fits
        yield text[:cut].rstrip()
        text = text[cut:].lstrip()
    yield text
