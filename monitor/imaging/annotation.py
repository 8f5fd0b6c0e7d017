"""Draw the image of an event: the frame with heat, outlines and boxes, and a caption below."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.records import Box, Heatmap, Image, Region

Colour = tuple[int, int, int]
"""Blue, green, red: 0..255 each."""


_ALARM: Colour = (80, 110, 255)


_NOTICE: Colour = (60, 190, 255)


_BRIGHT: Colour = (245, 245, 245)


_EDGE: Colour = (20, 20, 20)


HeatStyle = Literal["outline", "overlay", "none"]
"""What is drawn besides boxes: contours, contours and tinted heat, or nothing."""


_COOL, _HOT = 0.2, 0.8  # heat at which the tint starts, and at which it is densest


_MAX_TINT = 0.25
"""Highest opacity of the tint: three quarters of the surface's contrast stay visible."""


def annotate(
    image: NDArray[np.uint8],
    regions: Sequence[Region],
    heat: Heatmap | None,
    *,
    label: str,
    score: float,
    threshold: float,
    camera: str,
    captured_at: datetime | str,
    reason: str | None = None,
    heat_style: HeatStyle = "overlay",
) -> Image:
    """Draw heat, outlines and boxes on a copy of the frame, and a caption below it.

    `image` is (height, width, 3) or grey (height, width); `heat` (height, width) in the same pixels, 0..1,
    or None. Returns (height + caption, width, 3). Its first `height` rows show the frame, so that coordinates
    stay valid and the caption hides nothing. Boxes are drawn around their pixels, not on them, except at the
    frame's borders. `reason` states why there is no region. Lines and text scale with the frame.
    """
    frame = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()
    height, width = frame.shape[:2]
    line = max(1, round(min(height, width) / 300))
    if heat is not None and heat_style == "overlay":
        _blend_heatmap(frame, heat)
    for region in regions if heat_style != "none" else ():
        _outline(frame, region, line)
    for region in regions:
        _box(frame, region.box, line)
    when = captured_at if isinstance(captured_at, str) else _format_time(captured_at)
    alarm = score >= threshold
    lines = [
        CaptionLine(
            f"{label} {score:.3f}",
            _ALARM if alarm else _BRIGHT,
            bold=True,
            right_text=f"threshold {threshold:.3g}",
        ),
        CaptionLine(camera, _BRIGHT, right_text=when),
    ]
    if reason is not None:
        lines.append(CaptionLine(f"not localised: {reason}", _NOTICE))
    return np.vstack(
        [frame, render_caption(lines, width, text_height=max(9, round(min(height, width) / 36)))]
    )


def _blend_heatmap(frame: Image, heat: Heatmap) -> None:
    """Tint the frame in place where there is heat; leave the rest unchanged."""
    left, top, across, down = cv2.boundingRect((heat > _COOL).astype(np.uint8))
    if not across:
        return
    window = np.s_[top : top + down, left : left + across]
    share = np.clip((heat[window] - _COOL) / (_HOT - _COOL), 0, 1, dtype=np.float32) * np.float32(_MAX_TINT)
    colours = cv2.applyColorMap(np.clip(heat[window] * 255, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    under = np.ascontiguousarray(frame[window])
    frame[window] = np.where((share > 0)[..., None], cv2.blendLinear(colours, under, share, 1 - share), under)


def _outline(frame: Image, region: Region, line: int) -> None:
    points = np.array(region.contour, np.int32).reshape(-1, 1, 2)
    cv2.polylines(
        frame, [points], isClosed=True, color=_BRIGHT, thickness=max(1, line // 2), lineType=cv2.LINE_AA
    )


def _box(frame: Image, box: Box, line: int) -> None:
    """Draw a light rectangle with dark edges, visible on any surface; clip it at the image's border."""
    height, width = frame.shape[:2]
    for colour, outer, inner in ((_EDGE, 3 * line, 0), (_ALARM, 2 * line, line)):
        left, top = max(box.left - outer, 0), max(box.top - outer, 0)
        right, bottom = min(box.right + outer, width), min(box.bottom + outer, height)
        thick = outer - inner
        frame[top : top + thick, left:right] = colour
        frame[bottom - thick : bottom, left:right] = colour
        frame[top:bottom, left : left + thick] = colour
        frame[top:bottom, right - thick : right] = colour


def _format_time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")


_FONT = cv2.FONT_HERSHEY_SIMPLEX  # OpenCV 5 draws it with a TrueType font that supports Unicode


_STRIP = (32, 28, 26)


_DIM = (170, 170, 170)


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """`text` on the left in `colour` (blue, green, red); `right_text` dim on the right, or below it."""

    text: str
    colour: tuple[int, int, int]
    bold: bool = False
    right_text: str = ""


def render_caption(lines: Sequence[CaptionLine], width: int, *, text_height: int) -> Image:
    """Draw lines on a strip of `width` pixels, as high as the text requires; `text_height` in pixels."""
    scale = cv2.getFontScaleFromHeight(_FONT, text_height, 1)
    margin = max(2, text_height // 2)
    pitch = round(text_height * 1.7)
    available = width - 2 * margin

    rows: list[list[tuple[str, tuple[int, int, int], int, int]]] = []  # (text, colour, thickness, x)
    for line in lines:
        thickness = _thickness(text_height, bold=line.bold)
        pieces = list(_wrap(line.text, available, scale, thickness))
        rows.extend([(piece, line.colour, thickness, margin)] for piece in pieces)
        thin = _thickness(text_height)
        across = _width(line.right_text, scale, thin)
        if line.right_text and _width(pieces[-1], scale, thickness) + 2 * margin + across <= available:
            rows[-1].append((line.right_text, _DIM, thin, width - margin - across))
        elif line.right_text:
            rows.extend(
                [(piece, _DIM, thin, margin)] for piece in _wrap(line.right_text, available, scale, thin)
            )

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


def _wrap(text: str, available: int, scale: float, thickness: int) -> Iterator[str]:
    """Yield the text in pieces that fit into `available` pixels, broken between words where possible."""
    while _width(text, scale, thickness) > available and len(text) > 1:
        fits = next(
            (n for n in range(len(text) - 1, 1, -1) if _width(text[:n], scale, thickness) <= available), 1
        )
        space = text.rfind(" ", 1, fits + 1)
        cut = space if space > 0 else fits
        yield text[:cut].rstrip()
        text = text[cut:].lstrip()
    yield text
