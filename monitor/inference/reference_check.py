"""Whether a network answers the reference images of its bundle as single precision does."""

from collections.abc import Sequence

import numpy as np

from monitor.inference.network import Network
from monitor.inference.precision import Precision, score_error
from monitor.models.bundle import ModelBundle

ReferenceScores = Sequence[tuple[float, tuple[int, int] | None]]
"""For each reference: its score, and the (row, column) of its heat's peak if it is flagged and has heat."""


SCORE_TOLERANCE = 0.02
"""Largest difference in score from single precision."""


PEAK_TOLERANCE = 1
"""Largest distance of the heat's peak from that of single precision, in cells."""


def score_references(network: Network, bundle: ModelBundle, threshold: float) -> ReferenceScores:
    """Score the reference images of the bundle, and find the peaks of those at or above `threshold`."""
    found = []
    for reference in bundle.references:
        output = network.classify(reference.picture[None])
        score, peak = float(output.scores[0]), None
        if score >= threshold:
            heat = network.explain(reference.picture, output.activations[0])
            if heat.peak > 0:
                row, column = np.unravel_index(int(heat.heatmap.argmax()), heat.heatmap.shape)
                peak = int(row), int(column)
        found.append((score, peak))
    return found


def reference_mismatch(
    network: Network, bundle: ModelBundle, expected: ReferenceScores, threshold: float
) -> str | None:
    """Describe the first reference that the network answers otherwise than `expected`, if there is one."""
    precision = network.device.precision
    for number, ((score, peak), (expected_score, expected_peak)) in enumerate(
        zip(score_references(network, bundle, threshold), expected, strict=True), start=1
    ):
        name = f"reference image {number}"
        error = score_error(np.float32(score), np.float32(expected_score), threshold, precision)
        if not error <= SCORE_TOLERANCE:  # true for a score that is not a number
            return f"{name} scores {score:.3f} instead of {expected_score:.3f}"
        if (score >= threshold) != (expected_score >= threshold):
            return f"{name} has another verdict: it scores {score:.4f} instead of {expected_score:.4f}"
        if (peak is None) != (expected_peak is None):
            return f"{name} {'has no heat' if peak is None else 'has heat where there should be none'}"
        if peak and expected_peak and np.abs(np.subtract(peak, expected_peak)).max() > PEAK_TOLERANCE:
            return f"{name} has its peak at {peak} instead of {expected_peak}"
    return None


def card_mismatch(
    bundle: ModelBundle, found: ReferenceScores, threshold: float, precision: Precision = "fp32"
) -> str | None:
    """Describe the first reference whose score, `found` in `precision`, its training did not record."""
    for number, ((score, _), reference) in enumerate(zip(found, bundle.references, strict=True), start=1):
        error = score_error(np.float32(score), np.float32(reference.score), threshold, precision)
        if not error <= SCORE_TOLERANCE:
            return f"reference image {number} scores {score:.3f} instead of {reference.score:.3f}"
    return None
