"""The images in a bundle by which a machine's arithmetic is checked.

    python -m monitor.learning.train.reference_images BUNDLE DATA

gives BUNDLE other ones, from the labelled images under DATA, where its training images may not be shipped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets import read_samples
from monitor.learning.datasets.sample import Sample
from monitor.learning.train.input_pipeline import load_sample
from monitor.models.bundle import ModelBundle, ReferenceImage, load_bundle, replace_parts
from monitor.models.preprocessing import preprocess

PER_VERDICT = 4
"""References of either verdict: few enough to be classified at every start."""


def select_references(
    samples: Sequence[Sample], scores: NDArray[np.float32], threshold: float, size: tuple[int, int]
) -> list[ReferenceImage]:
    """Choose those of `samples`, with `scores` (n,), that best reveal an arithmetic that changes verdicts.

    Up to `PER_VERDICT` of each verdict, evenly from the one nearest to the threshold to the most certain.
    `size` is the network's (height, width).
    """
    return [
        ReferenceImage(load_sample(samples[index], size, None)[0], float(scores[index]))
        for index in select_indices(scores, threshold)
    ]


def select_indices(scores: NDArray[np.float32], threshold: float) -> list[int]:
    """Return the indices of the references among `scores` (n,)."""
    chosen: list[int] = []
    for part in (np.flatnonzero(scores < threshold), np.flatnonzero(scores >= threshold)):
        ordered = part[np.argsort(np.abs(scores[part] - threshold), kind="stable")]
        count = min(PER_VERDICT, len(ordered))
        chosen += [int(ordered[round(index)]) for index in np.linspace(0, len(ordered) - 1, count)]
    return chosen


def rewrite(folder: Path, data: Path) -> ModelBundle:
    """Give the bundle in `folder` references from the labelled images under `data`."""
    bundle = load_bundle(folder)
    card, samples = bundle.card, read_samples([data])
    images = np.stack([load_sample(sample, card.input_size, None)[0] for sample in samples])
    outputs = bundle.keras_model().predict(preprocess(card, images), verbose=0)
    scores = np.asarray(outputs[:, card.defect_class], np.float32)
    chosen = select_references(samples, scores, card.threshold, card.input_size)
    return replace_parts(bundle, references=chosen)


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), Path(sys.argv[2]))
