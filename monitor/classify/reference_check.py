"""Whether a classifier says of a bundle's reference pictures what single precision says of them."""

from collections.abc import Sequence

import numpy as np

from monitor.classify.bundle import Bundle
from monitor.classify.classifier import Classifier

Expected = Sequence[tuple[float, tuple[int, int] | None]]
"""Of each reference: its score, and the (row, column) of its heat's peak if it is flagged and has heat."""

SCORES_WITHIN = 0.02
PEAK_WITHIN = 1
"""What a way may differ by from single precision: in score, and in cells of the heat."""


def answers(classifier: Classifier, bundle: Bundle, threshold: float) -> Expected:
    """What the classifier says of the bundle's references."""
    found = []
    for reference in bundle.references:
        answer = classifier.classify(reference.picture[None])
        score, peak = float(answer.scores[0]), None
        if score >= threshold:
            heat, strength, _ = classifier.explain(reference.picture, answer.activations[0])
            if strength > 0:
                row, column = np.unravel_index(int(heat.argmax()), heat.shape)
                peak = int(row), int(column)
        found.append((score, peak))
    return found


def difference(classifier: Classifier, bundle: Bundle, expected: Expected, threshold: float) -> str | None:
    """What the classifier says of the references that `expected` does not; None if all agrees well enough."""
    for number, ((score, peak), (wanted, cell)) in enumerate(
        zip(answers(classifier, bundle, threshold), expected, strict=True), start=1
    ):
        name = f"reference picture {number}"
        if not abs(score - wanted) <= SCORES_WITHIN:  # so that a score that is not a number fails too
            return f"{name} scores {score:.3f} instead of {wanted:.3f}"
        if (score >= threshold) != (wanted >= threshold):
            return f"{name} has another verdict: it scores {score:.4f} instead of {wanted:.4f}"
        if (peak is None) != (cell is None):
            return f"{name} {'has no heat' if peak is None else 'has heat where there should be none'}"
        if peak and cell and max(abs(peak[0] - cell[0]), abs(peak[1] - cell[1])) > PEAK_WITHIN:
            return f"{name} has its warmest place at {peak} instead of {cell}"
    return None
