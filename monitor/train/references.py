"""Which pictures a bundle carries to check a machine's arithmetic by.

    python -m monitor.train.references BUNDLE DATA

gives BUNDLE other ones, from the labelled pictures under DATA, where those it learnt from may not be shipped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.classify.bundle import Bundle, Reference, load_bundle, save_references
from monitor.classify.preprocess import preprocess
from monitor.dataset import read_samples
from monitor.dataset.sample import Sample
from monitor.train.pictures import load_sample

EACH = 4
"""References of either verdict: few enough to be judged at every start."""


def references_of(
    samples: Sequence[Sample], scores: NDArray[np.float32], threshold: float, size: tuple[int, int]
) -> list[Reference]:
    """Those of `samples`, with `scores` (n,), that show best whether another arithmetic changes verdicts.

    Up to `EACH` of each verdict, evenly from the one nearest to the threshold to the surest. `size` is the
    network's (height, width).
    """
    return [
        Reference(load_sample(samples[index], size, None)[0], float(scores[index]))
        for index in choose(scores, threshold)
    ]


def choose(scores: NDArray[np.float32], threshold: float) -> list[int]:
    """Places of the references among `scores` (n,)."""
    chosen: list[int] = []
    for part in (np.flatnonzero(scores < threshold), np.flatnonzero(scores >= threshold)):
        ordered = part[np.argsort(np.abs(scores[part] - threshold), kind="stable")]
        count = min(EACH, len(ordered))
        chosen += [int(ordered[round(place)]) for place in np.linspace(0, len(ordered) - 1, count)]
    return chosen


def rewrite(folder: Path, data: Path) -> Bundle:
    """Give the bundle in `folder` references out of the labelled pictures under `data`."""
    bundle = load_bundle(folder)
    card, samples = bundle.card, read_samples([data])
    pictures = np.stack([load_sample(sample, card.input_size, None)[0] for sample in samples])
    answers = bundle.keras_model().predict(preprocess(card, pictures), verbose=0)
    scores = np.asarray(answers[:, card.defect_class], np.float32)
    return save_references(bundle, references_of(samples, scores, card.threshold, card.input_size))


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), Path(sys.argv[2]))
