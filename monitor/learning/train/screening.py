"""Fit the early exit of a network: below which logit its first layers may call an input clearly good.

A linear function of statistics of the first layers is fitted to augmented training images. Validation images,
as they are and as a bad camera shows them, set the limit.

    python -m monitor.learning.train.screening BUNDLE DATA...

fits that of BUNDLE again, to all classes of labelled images under DATA.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.inference.graphs import screening_trunk
from monitor.learning.datasets import read_samples
from monitor.learning.datasets.fingerprint import group_keys, image_hashes
from monitor.learning.datasets.split import stratified_split
from monitor.learning.train.input_pipeline import InputPipeline
from monitor.learning.train.recipe import DEFAULT
from monitor.learning.train.scoring import NOVEL_FRACTION
from monitor.models.bundle import ModelBundle, load_bundle, save_screening
from monitor.models.novelty import fit_novelty_detector
from monitor.models.preprocessing import preprocess_tf
from monitor.models.screening import Screening

LAYER = "conv2_block2_out"
"""The layer that is read: a third of the network's arithmetic comes before it."""


VIEWS = 3
"""Augmented views of each training image."""


FIRST_VIEW = 1_000_000
"""Its epoch, later than any that the network is trained in."""


SAFETY = 2.0
"""Logits from the lowest flagged validation image down to the highest input that is clearly good."""


MAX_DOUBTFUL = 0.3
"""Fraction of good validation images that may need the whole network; with more, screening gains little."""


REGULARISATION, SMOOTHING, NEWTON_STEPS = 30.0, 0.01, 12


@dataclass(frozen=True, slots=True, eq=False)
class ValidationStatistics:
    """Of n validation images: `statistics` (n, d), `features` (n, c), and `scores` (n,) of the network."""

    statistics: NDArray[np.float32]
    features: NDArray[np.float32]
    scores: NDArray[np.float32]


def add_screening(
    bundle: ModelBundle, model: Any, training: InputPipeline, validation: InputPipeline
) -> tuple[ModelBundle, str]:
    """Fit an early exit of `model`, the network of `bundle`; return the bundle with it, and a report.

    Where it would leave too many good images to the whole network, the bundle stays as it is.
    """
    card = bundle.card
    preprocess = partial(preprocess_tf, card)
    read = tf.function(screening_trunk(model, LAYER, preprocess), autograph=False)
    classify = tf.function(lambda images: model(preprocess(images), training=False), autograph=False)
    seen, labels = [], []
    for view in range(VIEWS):
        for images, answers, _ in training.training(FIRST_VIEW + view, augmented=True):
            seen.append([part.numpy() for part in read(images)])
            labels.append(answers.numpy())
    checked = [
        [part.numpy() for part in (*read(images), classify(images)[:, card.defect_class])]
        for degraded in (False, True)
        for images, _, _ in validation.judging(degraded=degraded)
    ]
    features, statistics = (np.concatenate(part) for part in zip(*seen, strict=True))
    weights, bias = fit_weights(statistics, np.concatenate(labels))
    found, about, scores = (np.concatenate(part) for part in zip(*checked, strict=True))
    screening, doubtful = calibrate(
        weights, bias, features, ValidationStatistics(about, found, scores), card.threshold
    )
    report = f"screening: {doubtful:.1%} of good validation images need the whole network"
    if doubtful > MAX_DOUBTFUL:
        return bundle, f"{report}: too many, the model is stored without it"
    return save_screening(bundle, screening), report


def fit_weights(
    statistics: NDArray[np.float32], labels: NDArray[np.int32]
) -> tuple[NDArray[np.float32], float]:
    """Fit weights (d,) and bias of the logit of a defect to `statistics` (n, d) with `labels` (n,), 0 or 1.

    That is logistic regression by Newton's method, with both labels of the same weight, a penalty on the
    squares of the weights, and labels that are smoothed, since nothing is certain.
    """
    raw = statistics.astype(np.float64)
    mean, spread = raw.mean(axis=0), raw.std(axis=0) + 1e-3
    inputs = np.column_stack([(raw - mean) / spread, np.ones(len(raw))])
    defects = max(int((labels == 1).sum()), 1)
    weight = np.where(labels == 1, (len(labels) - defects) / defects, 1.0)
    wanted = SMOOTHING + (1 - 2 * SMOOTHING) * labels
    penalty = np.full(inputs.shape[1], REGULARISATION)
    penalty[-1] = 1e-6  # the bias is free
    found = np.zeros(inputs.shape[1])
    for _ in range(NEWTON_STEPS):
        given = 0.5 * (1 + np.tanh(inputs @ found / 2))
        slope = inputs.T @ (weight * (given - wanted)) + penalty * found
        curvature = weight * np.maximum(given * (1 - given), 1e-4)
        found -= np.linalg.solve((inputs * curvature[:, None]).T @ inputs + np.diag(penalty), slope)
    weights = found[:-1] / spread
    return weights.astype(np.float32), float(found[-1] - weights @ mean)


def calibrate(
    weights: NDArray[np.float32],
    bias: float,
    familiar: NDArray[np.float32],
    validation: ValidationStatistics,
    threshold: float,
) -> tuple[Screening, float]:
    """Choose the margin so that no `validation` image that the network flags comes near to clearly good.

    `familiar` (m, c) are features of training images. Returns also the fraction of good images for which the
    early exit leaves the answer to the whole network.
    """
    logits = validation.statistics @ weights + bias
    good = validation.scores < threshold
    limit = float(np.log(threshold / (1 - threshold)))
    highest = min(limit, float(logits[~good].min(initial=limit))) - SAFETY
    detector = fit_novelty_detector(familiar, validation.features[good], share=NOVEL_FRACTION)
    doubtful = (logits >= highest) | detector.is_novel(validation.features)
    return Screening(LAYER, weights, bias, limit - highest, detector), float(doubtful[good].mean())


def rewrite(folder: Path, data: Iterable[Path]) -> str:
    """Fit the early exit of the bundle in `folder` to the labelled images under `data`; return a report."""
    bundle = load_bundle(folder)
    samples = read_samples(list(data), split="Train")
    keys = group_keys(samples, image_hashes(samples), None)
    parts = stratified_split(samples, DEFAULT.validation_share, f"validation/{DEFAULT.seed}", keys)
    training, validation = (
        InputPipeline(part, bundle.card.input_size, DEFAULT.batch, DEFAULT.seed) for part in parts
    )
    return add_screening(bundle, bundle.keras_model(), training, validation)[1]


if __name__ == "__main__":
    sys.stdout.write(rewrite(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]) + "\n")
