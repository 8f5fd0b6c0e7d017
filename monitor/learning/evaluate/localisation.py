"""How well heat and boxes locate a defect whose mask is known. Pure; positions in pixels of the image."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.learning.evaluate.metrics import Estimate, bootstrap
from monitor.records import Box, Heatmap, Region

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DefectLocalisation:
    """How one defect was localised.

    `pointed`: the heat's peak lies inside the mask (the pointing game, Zhang et al. 2016, arXiv 1608.00507,
    without its tolerance). `heat_inside`: the fraction of all heat that does, 0..1. `overlap`: intersection
    over union of the strongest region's box with the mask's box, 0..1; each piece of a mask has a box of its
    own, and the one that fits best counts. `centre_distance`: between the two boxes' centres, in pixels, not
    a number where there is no region. `regions`: the number of reported regions.
    """

    pointed: bool
    heat_inside: float
    overlap: float
    centre_distance: float
    regions: int


MISSED = DefectLocalisation(pointed=False, heat_inside=0.0, overlap=0.0, centre_distance=math.nan, regions=0)
"""A defect that was not flagged, or flagged without a region."""


@dataclass(frozen=True, slots=True)
class LocalisationMetrics:
    """Many defects together; a missed one counts as not pointed at, with overlap 0.

    `centre_distance` (median, pixels) and `heat_inside` (mean) are of defects with a region only.
    """

    defects: int
    with_region: int
    pointing: Estimate
    heat_inside: Estimate
    median_overlap: Estimate
    found_at_03: Estimate
    found_at_05: Estimate
    centre_distance: Estimate
    extra_regions: int


def mask_boxes(mask: Mask) -> tuple[Box, ...]:
    """Return the smallest box around each connected piece of `mask` (h, w)."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    pieces = ((int(left), int(top), int(wide), int(high)) for left, top, wide, high, _ in stats[1:])
    return tuple(Box(left, top, left + wide, top + high) for left, top, wide, high in pieces)


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, 0..1."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    both = max(0, width) * max(0, height)
    return both / (one.area + other.area - both)


def localise_defect(heat: Heatmap, regions: Sequence[Region], mask: Mask) -> DefectLocalisation:
    """Compare `heat` (h, w) and its `regions`, strongest first, with `mask` (h, w), which is not empty."""
    if not regions:
        return MISSED
    best = regions[0].box
    truth = max(mask_boxes(mask), key=lambda box: (overlap(best, box), -_distance(best, box)))
    x, y = regions[0].peak_at
    return DefectLocalisation(
        pointed=bool(mask[round(y), round(x)]),
        heat_inside=float(heat[mask].sum(dtype=np.float64) / heat.sum(dtype=np.float64)),
        overlap=overlap(best, truth),
        centre_distance=_distance(best, truth),
        regions=len(regions),
    )


def localisation(
    places: Sequence[DefectLocalisation], *, repeats: int = 1000, seed: int = 0
) -> LocalisationMetrics:
    """Compute the figures of at least one defect, each with a bootstrap interval."""
    overlaps = np.array([one.overlap for one in places])
    located = [one for one in places if one.regions]

    def estimate(values: ArrayLike, measure: Callable[..., float]) -> Estimate:
        numbers = np.asarray(values, float)
        if not numbers.size:
            return Estimate(math.nan, math.nan, math.nan)
        one_stratum = np.zeros(numbers.size, bool)
        return bootstrap(lambda i: float(measure(numbers[i])), one_stratum, repeats=repeats, seed=seed)

    return LocalisationMetrics(
        defects=len(places),
        with_region=len(located),
        pointing=estimate([one.pointed for one in places], np.mean),
        heat_inside=estimate([one.heat_inside for one in located], np.mean),
        median_overlap=estimate(overlaps, np.median),
        found_at_03=estimate(overlaps >= 0.3, np.mean),
        found_at_05=estimate(overlaps >= 0.5, np.mean),
        centre_distance=estimate([one.centre_distance for one in located], np.median),
        extra_regions=sum(one.regions - 1 for one in located),
    )


def _distance(one: Box, other: Box) -> float:
    """Between the centres of two boxes, in pixels."""
    return math.hypot(
        (one.left + one.right - other.left - other.right) / 2,
        (one.top + one.bottom - other.top - other.bottom) / 2,
    )
