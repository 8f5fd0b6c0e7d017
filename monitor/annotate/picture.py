"""The picture that goes out with an event: the frame with heat and boxes on it, and a caption below it."""

from collections.abc import Sequence
from datetime import UTC, datetime

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.annotate.caption import Line, caption
from monitor.records import Box, Heat, Image, Region

Colour = tuple[int, int, int]
"""Blue, green, red: 0..255 each."""

_ALARM: Colour = (80, 110, 255)
_NOTICE: Colour = (60, 190, 255)
_BRIGHT: Colour = (245, 245, 245)
_EDGE: Colour = (20, 20, 20)

_COOL, _HOT = 0.2, 0.8  # heat at which the overlay begins to show, and at which it is at its densest
_DENSEST = 0.45  # share of the overlay's colour there: the surface stays visible


def annotate(
    image: NDArray[np.uint8],
    regions: Sequence[Region],
    heat: Heat | None,
    *,
    label: str,
    score: float,
    threshold: float,
    camera: str,
    captured_at: datetime | str,
    reason: str | None = None,
) -> Image:
    """A new picture (height + caption, width, 3): the frame with heat, outlines and boxes, the caption below.

    `image` is (height, width, 3) or grey (height, width); `heat` (height, width) in the same pixels, 0..1, or
    None. The first `height` rows are the frame's own, so coordinates stay true and the caption hides nothing.
    Boxes are drawn around their pixels, not on them, except at the frame's borders. `reason` says why there
    is no region. Lines and letters grow with the picture.
    """
    frame = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()
    height, width = frame.shape[:2]
    line = max(1, round(min(height, width) / 300))
    if heat is not None:
        _warm(frame, heat)
    for region in regions:
        _outline(frame, region, line)
    for region in regions:
        _box(frame, region.box, line)
    when = captured_at if isinstance(captured_at, str) else _moment(captured_at)
    alarm = score >= threshold
    lines = [
        Line(
            f"{label} {score:.3f}",
            _ALARM if alarm else _BRIGHT,
            bold=True,
            beside=f"threshold {threshold:.3g}",
        ),
        Line(camera, _BRIGHT, beside=when),
    ]
    if reason is not None:
        lines.append(Line(f"not localised: {reason}", _NOTICE))
    return np.vstack([frame, caption(lines, width, text_height=max(9, round(min(height, width) / 36)))])


def _warm(frame: Image, heat: Heat) -> None:
    """Lays the heat over the frame where it is warm, in place; elsewhere the frame stays as it is."""
    left, top, across, down = cv2.boundingRect((heat > _COOL).astype(np.uint8))
    if not across:
        return
    window = np.s_[top : top + down, left : left + across]
    share = np.clip((heat[window] - _COOL) / (_HOT - _COOL), 0, 1, dtype=np.float32) * np.float32(_DENSEST)
    colours = cv2.applyColorMap(np.clip(heat[window] * 255, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    under = np.ascontiguousarray(frame[window])
    frame[window] = np.where((share > 0)[..., None], cv2.blendLinear(colours, under, share, 1 - share), under)


def _outline(frame: Image, region: Region, line: int) -> None:
    points = np.array(region.contour, np.int32).reshape(-1, 1, 2)
    cv2.polylines(
        frame, [points], isClosed=True, color=_BRIGHT, thickness=max(1, line // 2), lineType=cv2.LINE_AA
    )


def _box(frame: Image, box: Box, line: int) -> None:
    """A light frame with dark edges, seen on any surface; moved inwards where the picture ends."""
    height, width = frame.shape[:2]
    for colour, outer, inner in ((_EDGE, 3 * line, 0), (_ALARM, 2 * line, line)):
        left, top = max(box.left - outer, 0), max(box.top - outer, 0)
        right, bottom = min(box.right + outer, width), min(box.bottom + outer, height)
        thick = outer - inner
        frame[top : top + thick, left:right] = colour
        frame[bottom - thick : bottom, left:right] = colour
        frame[top:bottom, left : left + thick] = colour
        frame[top:bottom, right - thick : right] = colour


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")
