"""Train the early exit of a finished network: below which score its first layers call an input clearly good.

    python -m monitor.learning.train.screening BUNDLE DATA...

trains that of BUNDLE, on the labelled images under DATA that are not set aside as `Test`.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.inference.graphs import exit_logits
from monitor.inference.precision import shift_score
from monitor.learning.datasets import read_samples, stratified_split
from monitor.learning.datasets.fingerprint import group_keys
from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.tiling import FrameTruth, Tiling, read_truth, tiles_of
from monitor.learning.train.augment import augment, corrupt
from monitor.learning.train.input_pipeline import InputPipeline
from monitor.learning.train.learner import mask_loss
from monitor.learning.train.recipe import DEFAULT
from monitor.learning.train.sampling import TrainingTiles
from monitor.models.bundle import ModelBundle, load_bundle, replace_parts
from monitor.models.card import ModelCard
from monitor.models.novelty import fit_novelty_detector
from monitor.models.preprocessing import preprocess_tf
from monitor.models.screening import Screening

LAYER = "conv2_block3_1_relu"
"""The layer that is read: a third of the network's arithmetic comes before it."""


GOOD_VIEWS, DEFECT_VIEWS = 3, 16
"""Views of each image: as recorded, augmented as in training, and corrupted as `evaluate` does, in turn."""


MAX_VIEWS = 1200
"""Views of each label at most: they are held in memory, 0.4 MB each."""


MIN_DEFECTS = 15
"""Defective frames of the validation part; fewer do not show what an early exit misses."""


MAX_DOUBTFUL = 0.05
"""Fraction of good validation images as recorded that may need the whole network: more saves too little."""


NEAR, UNFAMILIAR = 1.0, 1.25
"""A view counts as flagged from this many logits below the threshold, and as familiar up to this many times
the limit of familiarity."""


SURE_FRACTION = 0.98
"""Fraction of good validation images below the limit: as low as that allows, it is farthest from defects."""


MARGIN = 2.0
"""Logits at least from the limit to the lowest familiar view that the network flags."""


WIDTH = 32
"""Channels of the convolutions."""


BATCH, STEPS, LEARNING_RATE = 32, 800, 2e-3
"""Half of each batch is defective."""


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """n views of images: `maps` (n, h, w, c) of the layer, `labels` (n,), and `targets` as `InputPipeline`'s.

    `scores` (n,) are the whole network's, NaN where it was not asked. `recorded` (n,): as recorded.
    """

    maps: NDArray[np.float16]
    labels: NDArray[np.bool_]
    targets: NDArray[np.float32]
    scores: NDArray[np.float32]
    recorded: NDArray[np.bool_]

    @property
    def features(self) -> NDArray[np.float32]:
        """The means of the maps: (n, c)."""
        return np.asarray(self.maps.mean(axis=(1, 2), dtype=np.float32), np.float32)


def add_screening(
    bundle: ModelBundle,
    model: Any,
    training: Sequence[FrameTruth],
    validation: Sequence[FrameTruth],
    *,
    seed: int,
) -> tuple[ModelBundle, str]:
    """Give `bundle`, whose network is `model`, an early exit; return it, and a report.

    `training` is what the exit learns from, `validation` sets its limit. The bundle stays as it is where they
    cannot show that no defect is missed, or where the exit would save too little.
    """
    started_at = time.monotonic()
    card, tiling = bundle.card, Tiling.of(bundle.card.training)
    defective = sum(truth.sample.defective for truth in validation)
    if defective < MIN_DEFECTS:
        return bundle, (
            f"no early exit: checking one takes {MIN_DEFECTS} defective validation images, "
            f"there are {defective}"
        )
    drawn = TrainingTiles(training, tiling, seed)
    tiles = [tile for frame in tiles_of(validation, tiling) for tile in frame]
    reader = _Reader(model, card, seed)
    seen = reader.read(drawn.draw, all_scored=False)
    weights = train_exit(seen, card.threshold, seed)
    checked = reader.read(lambda _: tiles, all_scored=True)
    screening, report = calibrate(weights, seen, checked, card.threshold)
    if screening is not None:
        bundle = replace_parts(bundle, screening=screening)
    return bundle, f"{report}; it took {time.monotonic() - started_at:.0f} s"


class _Reader:
    """Reads the maps of views of images by `model`, the network of `card`. `seed` decides on the views."""

    def __init__(self, model: Any, card: ModelCard, seed: int) -> None:
        self._card, self._seed = card, seed
        maps = model.get_layer(LAYER).output
        trunk, whole = keras.Model(model.input, maps), keras.Model(model.input, [maps, model.output])
        self._trunk = tf.function(lambda images: trunk(preprocess_tf(card, images), training=False))
        self._whole = tf.function(lambda images: whole(preprocess_tf(card, images), training=False))

    def read(self, draw: Callable[[int], Sequence[Sample]], *, all_scored: bool) -> Views:
        """Read the views of the samples that `draw` returns for each view's number.

        Good ones are scored in any case: the network flags some of them.
        """
        batches = [
            batch
            for view in range(DEFECT_VIEWS)
            for defective, views in ((False, GOOD_VIEWS), (True, DEFECT_VIEWS))
            if view < views
            for batch in self._read(
                [sample for sample in draw(view) if sample.defective is defective],
                view,
                MAX_VIEWS // views,
                scored=all_scored or not defective,
            )
        ]
        return Views(*(np.concatenate(part) for part in zip(*batches, strict=True)))

    def _read(
        self, samples: Sequence[Sample], view: int, limit: int, *, scored: bool
    ) -> Iterator[tuple[Any, ...]]:
        kept = np.random.default_rng((self._seed, view)).permutation(len(samples))[:limit]
        chosen = [samples[index] for index in sorted(kept)]
        change = augment if view % 2 else corrupt
        pipeline = InputPipeline(chosen, self._card.input_size, BATCH, self._seed, change)
        for images, labels, targets in pipeline.judging(degraded=view > 0, view=view):
            scores = np.full(len(images), np.nan, np.float32)
            if scored:
                maps, outputs = self._whole(images)
                scores = outputs.numpy()[:, self._card.defect_class]
            else:
                maps = self._trunk(images)
            recorded = np.full(len(scores), view == 0)
            yield maps.numpy().astype(np.float16), labels.numpy() == 1, targets.numpy(), scores, recorded


Weights = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def train_exit(seen: Views, threshold: float, seed: int) -> Weights:
    """Train the convolutions of an early exit on the views `seen`; return kernels and biases.

    A good view gets the network's own score, and counts as defective where that reaches `threshold`: verdicts
    are to stay.
    """
    random = np.random.default_rng(seed)
    depth = seen.maps.shape[-1]
    spread = seen.maps[:: max(len(seen.maps) // 200, 1)].astype(np.float32).std(axis=(0, 1, 2)) + 1e-3
    weights = []
    for size, wide, out in ((3, depth, WIDTH), (3, 2 * WIDTH, WIDTH), (3, WIDTH, WIDTH), (1, WIDTH, 1)):
        kernel = random.normal(0, np.sqrt(2 / (size**2 * wide)), (size, size, wide, out))
        weights.append((tf.Variable(kernel, dtype=tf.float32), tf.Variable(tf.zeros(out))))
    variables = [variable for pair in weights for variable in pair]
    warm = STEPS // 10
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, STEPS - warm, warmup_target=LEARNING_RATE, warmup_steps=warm
    )
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(variables)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def learn(maps: Any, labels: Any, targets: Any) -> None:
        with tf.GradientTape() as tape:
            cells = exit_logits(tf.cast(maps, tf.float32) / spread, weights)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels, tf.reduce_max(cells, axis=(1, 2)))
            loss = tf.reduce_mean(entropy) + mask_loss(cells, targets)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    labels = seen.labels | (seen.scores >= threshold)
    unknown = (labels & ~seen.labels)[:, None, None]  # nobody knows what the network saw there
    targets = np.where(unknown, np.float32(-1), seen.targets)
    wanted = np.fmax(seen.labels.astype(np.float32), seen.scores)
    halves = [np.flatnonzero(labels == label) for label in (False, True)]
    for _ in range(STEPS):
        batch = np.concatenate([random.choice(half, BATCH // 2) for half in halves])
        learn(seen.maps[batch], wanted[batch], targets[batch])
    found = [(kernel.numpy(), bias.numpy()) for kernel, bias in weights]
    found[0] = (found[0][0] / spread[:, None], found[0][1])
    return found


def exit_scores(maps: NDArray[np.float16], weights: Weights) -> NDArray[np.float32]:
    """Return the logits (n,) of an early exit for `maps` (n, h, w, c)."""
    run = tf.function(
        lambda part: tf.reduce_max(exit_logits(tf.cast(part, tf.float32), weights), axis=(1, 2)),
        reduce_retracing=True,
        autograph=False,
    )
    parts = (maps[start : start + BATCH] for start in range(0, len(maps), BATCH))
    return np.concatenate([run(part).numpy() for part in parts])


def calibrate(
    weights: Weights, seen: Views, checked: Views, threshold: float
) -> tuple[Screening | None, str]:
    """Choose the limit by the validation views `checked`; return None where it cannot be shown to hold.

    Familiar are inputs like the training images as recorded, of the views `seen`.
    """
    logits = exit_scores(checked.maps, weights)
    flagged = checked.scores >= shift_score(threshold, -NEAR)
    good = checked.recorded & ~flagged
    familiarity = fit_novelty_detector(seen.features[seen.recorded], checked.features[good])
    distances = familiarity.distance(checked.features) / familiarity.limit
    limit = float(np.quantile(logits[good], SURE_FRACTION))
    lowest = float(logits[flagged & (distances <= UNFAMILIAR)].min(initial=np.inf))
    doubtful = float(((logits >= limit) | (distances > 1))[good].mean())
    report = (
        f"{doubtful:.1%} of good validation images need the whole network; of {flagged.sum()} flagged views "
        f"the lowest lies {lowest - limit:.1f} logits above the limit"
    )
    if lowest - limit < MARGIN or doubtful > MAX_DOUBTFUL:
        return None, f"no early exit, for it would not be safe or save too little: {report}"
    # The last bias moves the limit to a score below the threshold.
    score = shift_score(threshold, -NEAR)
    *first, (kernel, bias) = weights
    moved = bias + np.float32(np.log(score / (1 - score)) - limit)
    kernels, biases = zip(*first, (kernel, moved), strict=True)
    return Screening(LAYER, kernels, biases, score, familiarity), f"early exit: {report}"


def rewrite(folder: Path, data: Sequence[Path]) -> str:
    """Train the early exit of the bundle in `folder`, on the labelled images under `data`; report."""
    bundle = load_bundle(folder)
    card = bundle.card
    surfaces = sorted({line.split("/")[0] for line in card.training.data})
    truths = [read_truth(sample) for sample in read_samples(data, surfaces) if sample.split != "Test"]
    if card.training.validated:
        parts = [
            [truth for truth in truths if truth.content in hashes]
            for hashes in (set(card.training.trained), set(card.training.validated))
        ]
    else:
        samples = [truth.sample for truth in truths]
        keys = group_keys(
            samples, [truth.content for truth in truths], None, [truth.thumbnail for truth in truths]
        )
        kept, _ = stratified_split(samples, DEFAULT.validation_share, f"validation/{DEFAULT.seed}", keys)
        trained = set(kept)
        parts = [[truth for truth in truths if (truth.sample in trained) is part] for part in (True, False)]
    return add_screening(bundle, bundle.keras_model(), *parts, seed=card.training.seed)[1]


if __name__ == "__main__":
    sys.stdout.write(rewrite(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]) + "\n")
