"""Names for what is flagged, from the folders of the defects."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.learning.datasets.sample import Sample
from monitor.models.kinds import GOOD, KindClassifier, fit_kind_classifier
from monitor.models.novelty import Features


def fit_kinds(samples: Sequence[Sample], labels: NDArray[np.int8], features: Features) -> KindClassifier:
    """Fit on `samples` whose `labels` (n,) are 1 (defective) or 0, with their `features` (n, c)."""
    used = labels >= 0
    kinds = [
        sample.category if label else GOOD
        for sample, label in zip(samples, labels, strict=True)
        if label >= 0
    ]
    return fit_kind_classifier(features[used], kinds)


def check_kinds(samples: Sequence[Sample]) -> None:
    """Raise `UsageError` unless defects lie in folders of two kinds or more, each with two images or more."""
    counts: dict[str, int] = {}
    for sample in samples:
        if sample.defective:
            counts[sample.category] = counts.get(sample.category, 0) + 1
    if len(counts) < 2:
        raise UsageError(
            "--kinds needs a folder for each of two or more kinds of defect; "
            f"there is only {', '.join(counts)}"
        )
    rare = [kind for kind, count in counts.items() if count < 2]
    if rare:
        raise UsageError(f"--kinds needs two images or more of each kind; {rare[0]} has one")
