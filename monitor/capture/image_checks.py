"""Whether a picture shows a surface at all, before it is judged. Pure: a picture and limits in, a reason out.

A fixed sample of the picture is looked at, so that the cost hardly grows with its size: up to eight upright
strips of 32 columns, the rows and columns of pictures larger than 1,000 pixels thinned out to about 512. Of
the three channels only green is looked at, which carries most of the brightness.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.records import Image

_SIDE = 512  # pixels that are left of a larger picture's shorter side


_STRIPS = 8


_WIDE = 32  # columns of a strip


_BLOCK = 8  # rows of a strip that are smeared together


_CLIPPED = 250  # grey level from which a pixel counts as clipped: coding leaves few at 255 itself


_NEAR = 8  # rows above and below a seam that say what is usual here


_SEAM_SIGMAS = 8.0  # times its usual variation that a seam must stick out


_LAGS = (-2, -1, 0, 1, 2)  # columns by which a texture may lean from one row to the next


GreyStrips = NDArray[np.uint8]
"""Strips side by side in depth: (strips, rows, columns)."""


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """From where on a picture is refused: grey levels 0..255, shares 0..1; the settings say how."""

    black: float
    white: float
    uniform: float
    saturated: float
    smeared: float
    blurred: float
    noise: float
    torn: float


def unusable_reason(image: Image, limits: QualityLimits) -> str | None:
    """Why nothing can be said of `image`, (height, width, 3) uint8, in a few words; None if it can be judged.

    Never refuses for what lies in a small part of the picture, as a defect does.
    """
    grey = _sample(image)
    counts = cv2.calcHist([grey.reshape(-1, grey.shape[2])], [0], None, [256], [0, 256]).ravel()
    return (
        _levels(counts / counts.sum(), limits)
        or _smear(grey, limits)
        or _blur(grey, limits)
        or _tear(grey, limits)
    )


def _sample(image: Image) -> GreyStrips:
    height, width = image.shape[:2]
    step = max(1, min(height, width) // _SIDE)
    wide = min(_WIDE, -(-width // step))
    count = max(1, min(_STRIPS, width // (wide * step)))
    starts = np.linspace(0, width - (wide - 1) * step - 1, count).astype(int)
    return np.stack([image[::step, start : start + wide * step : step, 1] for start in starts])


def _levels(share: NDArray[np.float32], limits: QualityLimits) -> str | None:
    """Judges by how many pixels have which grey level; `share` (256,) sums to one."""
    levels = np.arange(256)
    below = np.cumsum(share)
    first, last = int(np.searchsorted(below, 0.01)), int(np.searchsorted(below, 0.99))
    if last <= limits.black:
        return f"black: 99 % of it is at grey level {last} or below"
    if first >= limits.white:
        return f"white: 99 % of it is at grey level {first} or above"
    mean = float(share @ levels)
    deviation = float(share @ (levels - mean) ** 2) ** 0.5
    if deviation < limits.uniform:
        return f"uniform: its grey levels deviate by {deviation:.1f} only"
    clipped = float(share[_CLIPPED:].sum())
    if clipped > limits.saturated:
        return f"saturated: {clipped:.0%} of it is clipped at white"
    return None


def _smear(grey: GreyStrips, limits: QualityLimits) -> str | None:
    """A decoder that lost data fills the rest with grey or draws a row down: rows equal, bit by bit."""
    strips, rows, _ = grey.shape
    blocks = (rows - 1) // _BLOCK
    if limits.smeared >= 1 or not blocks:
        return None
    below, above = grey[:, 1 : 1 + blocks * _BLOCK], grey[:, : blocks * _BLOCK]
    same = (below == above).reshape(strips, blocks, -1).all(axis=2)
    # What is clipped is equal by nature, as a dark background is.
    clear = ((below < _CLIPPED) & (below > 255 - _CLIPPED)).reshape(strips, blocks, -1).mean(axis=2) > 0.5
    share = float((same & clear).mean())
    return f"smeared: on {share:.0%} of it all rows are equal" if share > limits.smeared else None


def _blur(grey: GreyStrips, limits: QualityLimits) -> str | None:
    """Compares what changes over 2 pixels with what changes over 16, noise taken off both.

    Averages over squares of 1, 2, 4, 8 and 16 pixels: noise between neighbours falls to a quarter each time,
    while a surface in focus has structure at all sizes. Of a smooth ramp 1/64 is left.
    """
    _, rows, wide = grey.shape
    if limits.blurred <= 0 or rows < 32 or wide < 32:
        return None
    changes, at = [_change(grey)], grey.astype(np.float32)
    for _ in range(4):
        at = _halved(at)
        changes.append(_change(at))
    noise = min(changes[0], 2 * limits.noise**2)
    rounding = 1 / 12  # the variance of rounding to whole grey levels, which no averaging takes off a ramp
    fine, coarse = changes[1] - noise / 4 - rounding, changes[4] - noise / 256
    ratio = max(fine, 0.0) / max(coarse, 1e-6)
    return f"blurred: fine structure is {ratio:.3f} of coarse" if ratio < limits.blurred else None


def _halved(at: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over squares of two by two; an odd last row or column is left out."""
    strips, rows, wide = at.shape
    even = np.ascontiguousarray(at[:, : rows // 2 * 2, : wide // 2 * 2])
    rows, wide = rows // 2, wide // 2
    means = cv2.resize(even.reshape(-1, 2 * wide), (wide, strips * rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32).reshape(strips, rows, wide)


def _change(at: GreyStrips | NDArray[np.float32]) -> float:
    """Mean square of the difference between neighbours, upright and across."""
    strips, rows, wide = at.shape
    flat = at.reshape(strips * rows, wide)
    down = cv2.norm(at[:, 1:], at[:, :-1], cv2.NORM_L2SQR) / (strips * (rows - 1) * wide)
    across = cv2.norm(flat[:, 1:], flat[:, :-1], cv2.NORM_L2SQR) / (strips * rows * (wide - 1))
    return float(down + across) / 2


def _tear(grey: GreyStrips, limits: QualityLimits) -> str | None:
    """Looks for one row that goes on from the row above no better than from any row, over the whole width.

    How well rows go on from each other is measured by their mean absolute difference, for leaning textures at
    several lags. At a seam it jumps from what is usual around it to what rows far apart show. An edge of the
    scene or a defect does so in a part of the width, or comes with another surface beyond it.
    """
    _, rows, wide = grey.shape
    if limits.torn <= 0 or rows < 8 * _NEAR or wide < 4 * len(_LAGS):
        return None
    apart = 2 * _NEAR + 1
    columns = np.ascontiguousarray(grey.transpose(2, 0, 1))  # long rows in memory are subtracted fastest
    chance = _smooth(_difference(columns, apart), apart)
    chance = chance[:, np.clip(np.arange(rows - 1) - _NEAR, 0, chance.shape[1] - 1)]
    jump, span = np.zeros_like(chance), np.zeros_like(chance)
    for lag in _LAGS:
        found = _difference(columns, 1, lag)
        around = apart * _smooth(found, apart) - 3 * _smooth(found, 3)
        usual = around / (apart - 3)  # without the row itself and its neighbours
        jump += (chance - usual) * (found - usual)
        span += (chance - usual) ** 2
    margin = max(2 * _NEAR, rows // 16)  # there, parts often end, and a tear would leave one picture whole
    inner = slice(margin, rows - 1 - margin)
    weight = span.sum(axis=0)[inner] + 1e-6
    surprise = jump.sum(axis=0)[inner] / np.sqrt(weight)
    row = int(surprise.argmax())
    spread = 1.48 * float(np.median(np.abs(surprise - np.median(surprise))))
    if surprise[row] <= max(_SEAM_SIGMAS * spread, limits.torn * weight[row] ** 0.5):
        return None
    row += margin
    told = span[:, row] > 0.1 * np.median(span[:, row])
    broken = jump[told, row] > 0.5 * limits.torn * span[told, row]
    if broken.mean() < 0.6 or not _two_pictures(grey, row + 1, float(chance[:, row].mean())):
        return None
    return f"torn: the picture jumps {(row + 1) / rows:.0%} down from its top"


def _two_pictures(grey: GreyStrips, seam: int, chance: float) -> bool:
    """Whether what lies above row `seam` stays above, as it does not at a scratch or a stripe of the surface.

    Rows a few apart must resemble each other on either side more than by `chance`, but not across the seam.
    Nor must they differ there by more than other places of the same rows do: beyond the edge of a part
    another surface begins.
    """
    before, above, below, after = (
        grey[:, seam + place * _NEAR : seam + (place + 1) * _NEAR] for place in (-2, -1, 0, 1)
    )
    usual = max(_distance(before, above), _distance(below, after))
    across = _distance(above, below)
    elsewhere = min(_distance(side, np.roll(side, 1, axis=0)) for side in (above, below))
    return usual < 0.6 * chance and across - usual > 0.5 * (chance - usual) and across < 2.5 * elsewhere


def _distance(one: GreyStrips, other: GreyStrips) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


def _difference(columns: NDArray[np.uint8], apart: int, lag: int = 0) -> NDArray[np.float32]:
    """Mean difference of rows `apart`, the lower one moved by `lag` columns: (strips, rows - apart).

    `columns` are (columns, strips, rows).
    """
    wide, strips, rows = columns.shape
    flat = columns.reshape(wide, strips * rows)  # also pairs across strips, which are cut off at the end
    lower = flat[max(lag, 0) : wide + min(lag, 0), apart:]
    upper = flat[max(-lag, 0) : wide + min(-lag, 0), :-apart]
    sums = cv2.reduce(cv2.absdiff(lower, upper), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
    means = np.zeros(strips * rows, np.float32)
    means[:-apart] = sums.ravel() / (wide - abs(lag))
    return means.reshape(strips, rows)[:, :-apart]


def _smooth(rows: NDArray[np.float32], wide: int) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(rows, (wide, 1), borderType=cv2.BORDER_REFLECT), np.float32)


_BYTES = 1_000_000


class FrozenDetector:
    """Counts how often one and the same picture came in a row.

    Compared are whole rows, all of them up to 1 MB (577x577 pixels), of larger pictures as many, evenly
    spaced, as fit that. They are compared byte by byte, not by a checksum: two pictures taken for one are
    equal in all those rows, so that a change must lie between them. The noise of a real sensor never does,
    but a picture drawn or coded without noise may.
    """

    def __init__(self) -> None:
        self._last: Image | None = None
        self._repeats = 0

    def repeat_count(self, image: Image) -> int:
        """How many pictures up to this one, (height, width, 3) uint8, are the same: 1 for a new one."""
        every = -(-image.nbytes // _BYTES) or 1
        rows = image[::every]
        if self._last is not None and np.array_equal(rows, self._last):
            self._repeats += 1
        else:
            self._repeats = 1
            self._last = rows.copy()  # the picture itself may be overwritten
        return self._repeats
