"""Which pictures a bundle carries to check a machine's arithmetic by.

    python -m monitor.learning.train.reference_images BUNDLE DATA

gives BUNDLE other ones, from the labelled pictures under DATA, where those it learnt from may not be shipped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets import read_samples
from monitor.learning.datasets.sample import Sample
from monitor.learning.train.input_pipeline import load_sample
from monitor.models.bundle import ModelBundle, ReferenceImage, load_bundle, save_references
from monitor.models.preprocessing import preprocess

PER_VERDICT = 4
"""References of either verdict: few enough to be judged at every start."""


def select_references(
    samples: Sequence[Sample], scores: NDArray[np.float32], threshold: float, size: tuple[int, int]
) -> list[ReferenceImage]:
    """Those of `samples`, with `scores` (n,), that show best whether another arithmetic changes verdicts.

    Up to `EACH` of each verdict, evenly from the one nearest to the threshold to the surest. `size` is the
    network's (height, width).
    """
    return [
        ReferenceImage(load_sample(samples[index], size, None)[0], float(scores[index]))
        for index in select_indices(scores, threshold)
    ]


def select_indices(scores: NDArray[np.float32], threshold: float) -> list[int]:
    """Places of the references among `scores` (n,)."""
    chosen: list[int] = []
    for part in (np.flatnonzero(scores < threshold), np.flatnonzero(scores >= threshold)):
        ordered = part[np.argsort(np.abs(scores[part] - threshold), kind="stable")]
        count = min(PER_VERDICT, len(ordered))
        chosen += [int(ordered[round(place)]) for place in np.linspace(0, len(ordered) - 1, count)]
    return chosen


def rewrite(folder: Path, data: Path) -> ModelBundle:
    """Give the bundle in `folder` references out of the labelled pictures under `data`."""
    bundle = load_bundle(folder)
    card, samples = bundle.card, read_samples([data])
    pictures = np.stack([load_sample(sample, card.input_size, None)[0] for sample in samples])
    answers = bundle.keras_model().predict(preprocess(card, pictures), verbose=0)
    scores = np.asarray(answers[:, card.defect_class], np.float32)
    return save_references(bundle, select_references(samples, scores, card.threshold, card.input_size))


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), Path(sys.argv[2]))
