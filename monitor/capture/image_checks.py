"""Check whether a frame shows a surface at all, before it is classified. Pure functions.

The checks use a fixed sample of the frame, so that their cost hardly grows with its size: up to eight
vertical strips of 32 columns. Frames larger than about 1,000 pixels are subsampled to about 512 rows. Only
the green channel is used, which carries most of the brightness.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.records import Image

_SIDE = 512  # pixels to which a larger frame's shorter side is subsampled


_STRIPS = 8


_WIDE = 32  # columns of a strip


_BLOCK = 8  # rows of a strip that are tested for smearing together


_CLIPPED = (
    250  # grey level from which a pixel counts as clipped: lossy coding leaves few pixels at exactly 255
)


_NEAR = 8  # rows above and below a seam that define the usual variation


_SEAM_SIGMAS = 8.0  # a seam must exceed the usual variation by this factor


_LAGS = (-2, -1, 0, 1, 2)  # columns by which a texture may lean from one row to the next


GreyStrips = NDArray[np.uint8]
"""Strips side by side in depth: (strips, rows, columns)."""


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Limits beyond which a frame is unusable: grey levels 0..255, shares 0..1 (see `SanitySettings`)."""

    black: float
    white: float
    uniform: float
    saturated: float
    smeared: float
    blurred: float
    noise: float
    torn: float


class Measure(NamedTuple):
    """One figure of a frame beside its limit, named as in `QualityLimits`."""

    name: str
    value: float
    limit: float
    is_beyond: bool


def measure(image: Image, limits: QualityLimits) -> tuple[Measure, ...]:
    """Return the figures by which `unusable_reason` decides, but for tears, which have no single one."""
    grey = _sample(image)
    first, last, deviation, clipped = _level_figures(_histogram(grey))
    figures: list[tuple[str, float, float, bool]] = [
        ("black", last, limits.black, last <= limits.black),
        ("white", first, limits.white, first >= limits.white),
        ("uniform", deviation, limits.uniform, deviation < limits.uniform),
        ("saturated", clipped, limits.saturated, clipped > limits.saturated),
        ("smeared", smeared := _smeared_share(grey), limits.smeared, smeared > limits.smeared),
    ]
    if (fine := _fine_structure(grey, limits.noise)) is not None:
        figures.append(("blurred", fine, limits.blurred, fine < limits.blurred))
    return tuple(Measure(name, value, limit, beyond) for name, value, limit, beyond in figures)


def unusable_reason(image: Image, limits: QualityLimits) -> str | None:
    """Return why `image`, (height, width, 3) uint8, cannot be classified; None if it can be.

    The reason is a short phrase. A small part of the frame, such as a defect, never makes it unusable.
    """
    grey = _sample(image)
    return (
        _levels(_histogram(grey), limits)
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
    strips = [cv2.extractChannel(image[::step, start : start + wide * step], 1) for start in starts]
    return np.stack([strip[:, ::step] for strip in strips])


def _histogram(grey: GreyStrips) -> NDArray[np.float32]:
    """Return the fraction of pixels at each grey level, (256,)."""
    counts = cv2.calcHist([grey.reshape(-1, grey.shape[2])], [0], None, [256], [0, 256]).ravel()
    return np.asarray(counts / counts.sum(), np.float32)


def _level_figures(share: NDArray[np.float32]) -> tuple[int, int, float, float]:
    """Return the levels of the darkest and brightest 1 %, the deviation, and the fraction that is clipped."""
    levels = np.arange(256)
    below = np.cumsum(share)
    first, last = int(np.searchsorted(below, 0.01)), int(np.searchsorted(below, 0.99))
    mean = float(share @ levels)
    deviation = float(share @ (levels - mean) ** 2) ** 0.5
    return first, last, deviation, float(share[_CLIPPED:].sum())


def _levels(share: NDArray[np.float32], limits: QualityLimits) -> str | None:
    """Check the histogram of grey levels; `share` (256,) sums to one."""
    first, last, deviation, clipped = _level_figures(share)
    if last <= limits.black:
        return f"black: 99 % of it is at grey level {last} or below"
    if first >= limits.white:
        return f"white: 99 % of it is at grey level {first} or above"
    if deviation < limits.uniform:
        return f"uniform: its grey levels deviate by {deviation:.1f} only"
    if clipped > limits.saturated:
        return f"saturated: {clipped:.0%} of it is clipped at white"
    return None


def _smear(grey: GreyStrips, limits: QualityLimits) -> str | None:
    """Find rows that are equal bit by bit: a decoder that lost data fills with grey or repeats a row."""
    if limits.smeared >= 1:
        return None
    share = _smeared_share(grey)
    return f"smeared: on {share:.0%} of it all rows are equal" if share > limits.smeared else None


def _smeared_share(grey: GreyStrips) -> float:
    """Return the fraction on which each row equals the row above and is not clipped."""
    strips, rows, _ = grey.shape
    blocks = (rows - 1) // _BLOCK
    if not blocks:
        return 0.0
    below, above = grey[:, 1 : 1 + blocks * _BLOCK], grey[:, : blocks * _BLOCK]
    same = (below == above).reshape(strips, blocks, -1).all(axis=2)
    # Clipped rows, such as a dark background, are equal by nature.
    clear = ((below < _CLIPPED) & (below > 255 - _CLIPPED)).reshape(strips, blocks, -1).mean(axis=2) > 0.5
    return float((same & clear).mean())


def _blur(grey: GreyStrips, limits: QualityLimits) -> str | None:
    ratio = _fine_structure(grey, limits.noise) if limits.blurred > 0 else None
    if ratio is None or ratio >= limits.blurred:
        return None
    return f"blurred: fine structure is {ratio:.3f} of coarse"


def _fine_structure(grey: GreyStrips, noise_limit: float) -> float | None:
    """Return the variation over 2 pixels to that over 16, after subtracting noise; None if too small.

    The frame is averaged over squares of 1, 2, 4, 8 and 16 pixels. Each step reduces the variance of noise
    to a quarter, while a surface in focus has structure at all sizes. A smooth ramp has a ratio of 1/64.
    """
    _, rows, wide = grey.shape
    if rows < 32 or wide < 32:
        return None
    changes, at = [_change(grey)], grey.astype(np.float32)
    for _ in range(4):
        at = _halved(at)
        changes.append(_change(at))
    noise = min(changes[0], 2 * noise_limit**2)
    rounding = 1 / 12  # variance of rounding to whole grey levels; averaging does not remove it from a ramp
    fine, coarse = changes[1] - noise / 4 - rounding, changes[4] - noise / 256
    return max(fine, 0.0) / max(coarse, 1e-6)


def _halved(at: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average squares of two by two pixels; an odd last row or column is left out."""
    strips, rows, wide = at.shape
    even = np.ascontiguousarray(at[:, : rows // 2 * 2, : wide // 2 * 2])
    rows, wide = rows // 2, wide // 2
    means = cv2.resize(even.reshape(-1, 2 * wide), (wide, strips * rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32).reshape(strips, rows, wide)


def _change(at: GreyStrips | NDArray[np.float32]) -> float:
    """Return the mean squared difference between neighbours, vertical and horizontal."""
    strips, rows, wide = at.shape
    flat = at.reshape(strips * rows, wide)
    down = cv2.norm(at[:, 1:], at[:, :-1], cv2.NORM_L2SQR) / (strips * (rows - 1) * wide)
    across = cv2.norm(flat[:, 1:], flat[:, :-1], cv2.NORM_L2SQR) / (strips * rows * (wide - 1))
    return float(down + across) / 2


def _tear(grey: GreyStrips, limits: QualityLimits) -> str | None:
    """Find one row that resembles the row above no more than any other row, over the whole width.

    Resemblance is the mean absolute difference of two rows, at several lags for slanted textures. At a seam
    the difference jumps from its usual value to that of rows far apart. At an edge of the scene or at a
    defect it jumps in part of the width only, or another surface begins beyond it.
    """
    _, rows, wide = grey.shape
    if limits.torn <= 0 or rows < 8 * _NEAR or wide < 4 * len(_LAGS):
        return None
    apart = 2 * _NEAR + 1
    columns = np.ascontiguousarray(grey.transpose(2, 0, 1))  # long rows in memory are subtracted fastest
    chance = _smooth(_difference(columns, apart), apart)
    chance = chance[:, np.clip(np.arange(rows - 1) - _NEAR, 0, chance.shape[1] - 1)]
    found = np.stack([_difference(columns, 1, lag) for lag in _LAGS])
    # Without the row itself and its neighbours.
    usual = (apart * _smooth(found, apart) - 3 * _smooth(found, 3)) / (apart - 3)
    rise = chance - usual
    jump, span = (rise * (found - usual)).sum(axis=0), (rise * rise).sum(axis=0)
    margin = max(
        2 * _NEAR, rows // 16
    )  # near the border, parts often end, and a tear would leave one frame whole
    inner = slice(margin, rows - 1 - margin)
    weight = span.sum(axis=0)[inner] + 1e-6
    surprise = jump.sum(axis=0)[inner] / np.sqrt(weight)
    row = int(surprise.argmax())
    spread = 1.48 * float(np.median(np.abs(surprise - np.median(surprise))))
    if surprise[row] <= max(_SEAM_SIGMAS * spread, limits.torn * weight[row] ** 0.5):
        return None
    row += margin
    informative = span[:, row] > 0.1 * np.median(span[:, row])
    broken = jump[informative, row] > 0.5 * limits.torn * span[informative, row]
    if broken.mean() < 0.6 or not _are_two_frames(grey, row + 1, float(chance[:, row].mean())):
        return None
    return f"torn: the image jumps {(row + 1) / rows:.0%} down from its top"


def _are_two_frames(grey: GreyStrips, seam: int, chance: float) -> bool:
    """Return whether two different frames meet at row `seam`, rather than at a scratch or stripe.

    On either side, rows a few apart must resemble each other more than by `chance`, but not across the seam.
    They must not differ there by more than other columns of the same rows do: beyond the edge of a part,
    another surface begins.
    """
    before, above, below, after = (
        grey[:, seam + block * _NEAR : seam + (block + 1) * _NEAR] for block in (-2, -1, 0, 1)
    )
    usual = max(_distance(before, above), _distance(below, after))
    across = _distance(above, below)
    elsewhere = min(_distance(side, np.roll(side, 1, axis=0)) for side in (above, below))
    return usual < 0.6 * chance and across - usual > 0.5 * (chance - usual) and across < 2.5 * elsewhere


def _distance(one: GreyStrips, other: GreyStrips) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


def _difference(columns: NDArray[np.uint8], apart: int, lag: int = 0) -> NDArray[np.float32]:
    """Return the mean difference of rows that lie `apart` rows apart: (strips, rows - apart).

    `columns` is (columns, strips, rows). The lower row is shifted by `lag` columns.
    """
    wide, strips, rows = columns.shape
    flat = columns.reshape(wide, strips * rows)  # includes pairs across strips, which are cut off at the end
    lower = flat[max(lag, 0) : wide + min(lag, 0), apart:]
    upper = flat[max(-lag, 0) : wide + min(-lag, 0), :-apart]
    sums = cv2.reduce(cv2.absdiff(lower, upper), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
    means = np.zeros(strips * rows, np.float32)
    means[:-apart] = sums.ravel() / (wide - abs(lag))
    return means.reshape(strips, rows)[:, :-apart]


def _smooth(rows: NDArray[np.float32], wide: int) -> NDArray[np.float32]:
    flat = rows.reshape(-1, rows.shape[-1])
    return np.asarray(cv2.blur(flat, (wide, 1), borderType=cv2.BORDER_REFLECT), np.float32).reshape(
        rows.shape
    )
