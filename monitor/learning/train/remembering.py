"""What a training leaves in its bundle, so that a later one on other images does not forget its own.

    python -m monitor.learning.train.remembering BUNDLE DATA...

gives BUNDLE the memory of the labelled images under DATA, where it was written without one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError, UsageError
from monitor.learning.datasets import read_samples
from monitor.learning.datasets.fingerprint import group_keys, image_hash
from monitor.learning.datasets.sample import Sample, Split, load_image
from monitor.learning.datasets.tiling import FrameTruth, Tiling, read_truth
from monitor.learning.train.frozen.last_layer import FrameFeatures, LastLayer, frame_scores
from monitor.learning.train.learner import Predictor
from monitor.learning.train.results import ScoredImages
from monitor.learning.train.scoring import FrameScorer, ScoredFrames
from monitor.models.bundle import ModelBundle, load_bundle, replace_parts
from monitor.models.card import ModelCard
from monitor.models.memory import MAX_FRAMES, TrainingMemory, choose_evenly

MAX_TILES = 512
"""Tiles that a bundle remembers after a training of all layers, about: each costs four forward passes."""


MIN_FRAMES = 32
"""Frames that it remembers at least, where there are as many."""


def remember(
    scorer: FrameScorer,
    truths: Sequence[FrameTruth],
    test: Sequence[Sample],
    tiling: Tiling,
    group: str | None,
) -> TrainingMemory:
    """Return the features of `truths`, as recorded and as bad cameras show them, and then those of `test`.

    `group` as in `group_keys`.
    """
    clean = scorer.score(truths, tiling)
    views = [clean, *scorer.degraded_views(truths, tiling)]
    frames = _labelled(truths, tiling, views, group, aside=False)
    if not test:
        return frames
    held_out = [read_truth(sample) for sample in test]
    # Frames set aside are measured as recorded alone: that view stands for the others.
    seen = [scorer.score(held_out, tiling)] * len(views)
    return frames.joined(_labelled(held_out, tiling, seen, group, aside=True))


def choose_remembered(truths: Sequence[FrameTruth], tiling: Tiling) -> list[FrameTruth]:
    """Return the frames that a bundle remembers of many, before the features of their tiles are computed."""
    strata = [(truth.sample.surface, truth.sample.category) for truth in truths]
    rows, columns = tiling.tiles
    count = min(max(MAX_TILES // (rows * columns), MIN_FRAMES), MAX_FRAMES)
    chosen = choose_evenly([truth.content for truth in truths], strata, count)
    return [truth for truth, is_chosen in zip(truths, chosen, strict=True) if is_chosen]


def _choose_samples(samples: Sequence[Sample], split: Split, count: int) -> list[Sample]:
    own = [sample for sample in samples if sample.split == split]
    strata = [(sample.surface, sample.category) for sample in own]
    chosen = choose_evenly([str(sample.path) for sample in own], strata, count)
    return [sample for sample, is_chosen in zip(own, chosen, strict=True) if is_chosen]


def _labelled(
    truths: Sequence[FrameTruth],
    tiling: Tiling,
    views: Sequence[ScoredFrames],
    group: str | None,
    *,
    aside: bool,
) -> TrainingMemory:
    samples = [truth.sample for truth in truths]
    contents = [truth.content for truth in truths]
    labelled = FrameFeatures.of(truths, tiling, views[0].tile_features)
    return TrainingMemory(
        np.stack([view.tile_features for view in views]),
        labelled.frame,
        labelled.label,
        np.array([sample.defective for sample in samples], bool),
        np.array(contents, np.str_),
        np.array(group_keys(samples, contents, group, [truth.thumbnail for truth in truths]), np.str_),
        np.array([sample.surface for sample in samples], np.str_),
        np.array([sample.category for sample in samples], np.str_),
        np.full(len(samples), aside),
    )


def scored_by_surface(
    memory: TrainingMemory, scores: NDArray[np.float32], chosen: NDArray[np.bool_]
) -> dict[str, ScoredImages]:
    """Return the `chosen` frames (n,) of each surface, with `scores` (t,) of their tiles."""
    per_frame = frame_scores(scores, memory.starts)
    features = memory.features[0][highest_tiles(scores, memory)]
    found = {}
    for surface in np.unique(memory.surfaces[chosen]):
        own = chosen & (memory.surfaces == surface)
        found[str(surface)] = ScoredImages(per_frame[own], features[own], memory.defective[own])
    return found


def highest_tiles(scores: NDArray[np.float32], memory: TrainingMemory) -> NDArray[np.intp]:
    """Return the index (n,) of the tile of highest score (t,) of each frame."""
    order = np.lexsort((-scores, memory.frame))
    return np.asarray(order[memory.starts], np.intp)


def measured(memory: TrainingMemory, layer: LastLayer) -> dict[str, ScoredImages]:
    """Return what `layer` makes of the frames set aside, by surface."""
    return scored_by_surface(memory, layer.scores(memory.features[0]), memory.aside)


def check_start(start: ModelBundle, truths: Sequence[FrameTruth], test: Sequence[Sample]) -> None:
    """Check that a training on `truths` may go on from `start`.

    Raises `UsageError` if it would forget what `start` has learnt, and `DataError` if `start` was trained on
    images of `test`, or had set images of `truths` aside: then the holdout measures nothing.
    """
    known = {line.split("/", 1)[0] for line in start.card.training.data}
    missing = sorted(known - {truth.sample.surface for truth in truths})
    if start.memory is None and missing:
        raise UsageError(
            f"the model at {start.path} would forget {', '.join(missing)}: it holds no features of its "
            "training; add those images with another --data"
        )
    used, aside = set(start.card.training.trained), set()
    if start.memory is not None:
        used |= set(start.memory.keys[~start.memory.aside].tolist())
        aside = set(start.memory.keys[start.memory.aside].tolist())
    leaked = [sample.path for sample in test if used and image_hash(load_image(sample)) in used]
    if leaked:
        raise DataError(
            f"the holdout leaks: {start.path} was trained on {len(leaked)} of its images, such as {leaked[0]}"
        )
    leaked = [truth.sample.path for truth in truths if truth.content in aside]
    if leaked:
        raise DataError(
            f"the holdout leaks: {start.path} had set aside {len(leaked)} of these, such as {leaked[0]}"
        )


def inherit(card: ModelCard, start: ModelCard) -> ModelCard:
    """Return `card` with what stays true of `start`, whose training it continues."""
    training = card.training.model_copy(
        update={
            name: tuple(dict.fromkeys((*getattr(start.training, name), *getattr(card.training, name))))
            for name in ("data", "trained", "validated")
        }
    )
    return card.model_copy(update={"localisation": start.localisation, "training": training})


def rewrite(folder: Path, data: Sequence[Path]) -> ModelBundle:
    """Give the bundle in `folder` the memory of the labelled images under `data`; `Test` is set aside."""
    bundle = load_bundle(folder)
    scorer = FrameScorer(Predictor(bundle.keras_model(), bundle.card), bundle.card.input_size, 16, 0)
    samples = read_samples(data)
    memory = remember(
        scorer,
        [read_truth(sample) for sample in _choose_samples(samples, "Train", MAX_FRAMES * 3 // 4)],
        _choose_samples(samples, "Test", MAX_FRAMES // 4),
        Tiling.of(bundle.card.training),
        None,
    )
    return replace_parts(bundle, memory=memory)


if __name__ == "__main__":
    rewrite(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
