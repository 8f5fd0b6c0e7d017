"""One training of the last layer alone, from frames to a bundle."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.tiling import FrameTruth, tiles_of
from monitor.learning.train.checkpoint import EpochMetrics
from monitor.learning.train.config import TrainingConfig, TrainingObserver
from monitor.learning.train.frozen.defect_views import view_defects
from monitor.learning.train.frozen.last_layer import FOLDS, FrameFeatures, folds_of
from monitor.learning.train.reference_images import select_references
from monitor.learning.train.remembering import highest_tiles, measured, remember, scored_by_surface
from monitor.learning.train.results import CardDraft, ScoredImages, final_card
from monitor.learning.train.scoring import FrameScorer, frame_distances, novelty_limit
from monitor.models.bundle import ModelBundle, save_bundle
from monitor.models.card import ModelCard
from monitor.models.kinds import GOOD, fit_kind_classifier
from monitor.models.memory import TrainingMemory
from monitor.models.novelty import NoveltyDetector, fit_novelty_detector


def train_frozen(
    model: Any,
    card: ModelCard,
    truths: Sequence[FrameTruth],
    config: TrainingConfig,
    scorer: FrameScorer,
    *,
    observer: TrainingObserver,
    test: Sequence[Sample] = (),
    start: ModelBundle | None = None,
) -> ModelBundle:
    """Train the last layer of `model` on all `truths` and write the bundle to `config.out`.

    `scorer` scores by `model`. The threshold and the limit of familiarity come from frames that the layer
    was not trained on, in turn. `start` is the bundle whose network `model` is: the frames that it remembers
    take part as if they had been given again, and its box head, which reads the same features, stays.
    """
    frames = remember(scorer, truths, test, config.tiling, config.group)
    tiles = [tile for frame in tiles_of(truths, config.tiling) for tile in frame]
    own_features = frames.features[0][: len(tiles)]
    if start is not None and start.memory is not None:
        kept = start.memory.without(set(frames.keys))
        observer.say(
            f"{start.card.name} remembers {len(kept.keys)} frames ({', '.join(np.unique(kept.surfaces))}), "
            "which take part"
        )
        frames = kept.joined(frames)

    trained = frames.only(~frames.aside)
    views = view_defects(model, card, tiles)
    views = views._replace(tile=views.tile + len(trained.frame) - len(tiles))  # those given are the last ones
    features = FrameFeatures(trained.features[0], trained.frame, trained.label, trained.surfaces, views)
    scores, bad_scores = features.cross_validated(
        list(trained.groups), trained.defective, trained.features[1]
    )
    layer = features.fit(np.ones(len(trained.keys), bool))
    layer.store(model)

    familiarity = _familiarity(trained)
    unseen = _images(trained, scores)
    loss = float(-np.log(np.where(unseen.defective, unseen.scores, 1 - unseen.scores).clip(1e-7)).mean())
    every = np.ones(len(trained.keys), bool)
    final = final_card(
        CardDraft(card, (EpochMetrics(loss, loss, unseen.auc),), 1, config.costs),
        unseen,
        degraded=_images(trained, bad_scores),
        surfaces=scored_by_surface(trained, scores, every),
        tests=measured(frames, layer),
        familiarity=familiarity,
    )
    references = select_references(tiles, layer.scores(own_features), final.threshold, config.size)
    named = config.kinds or (start is not None and start.kinds is not None)
    return save_bundle(
        config.out,
        model,
        final,
        familiarity,
        references,
        kinds=_kinds(trained) if named else None,
        box_head=None if start is None else start.box_head,
        memory=frames.limited(),
    )


def _images(frames: TrainingMemory, scores: NDArray[np.float32]) -> ScoredImages:
    """Return the frames with `scores` of their tiles (t,)."""
    highest = highest_tiles(scores, frames)
    return ScoredImages(scores[highest], frames.features[0][highest], frames.defective)


def _kinds(frames: TrainingMemory) -> Any:
    used = frames.label >= 0
    names = np.where(frames.label == 1, frames.categories[frames.frame], GOOD)[used]
    return fit_kind_classifier(frames.features[0][used], [str(name) for name in names])


def _familiarity(frames: TrainingMemory) -> NoveltyDetector:
    """Learn what is familiar from all frames; each gives the limit a distance from the others."""
    folds = folds_of(list(frames.groups), frames.defective)
    distances = []
    for fold in range(FOLDS):
        aside = (folds == fold)[frames.frame]
        if aside.any() and (~aside).sum() > 1:
            others = fit_novelty_detector(frames.features[0][~aside], frames.features[0][aside])
            distances += [
                frame_distances(others, view, frames.starts)[folds == fold] for view in frames.features
            ]
    detector = fit_novelty_detector(frames.features[0], frames.features[0])
    return novelty_limit(detector, np.concatenate(distances))
