"""One training of the last layer alone, from frames to a bundle."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets.fingerprint import group_keys
from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.tiling import FrameTruth
from monitor.learning.train.checkpoint import EpochMetrics
from monitor.learning.train.config import TrainingConfig
from monitor.learning.train.frozen.last_layer import FOLDS, FrameFeatures, folds_of, frame_scores
from monitor.learning.train.reference_images import select_references
from monitor.learning.train.results import CardDraft, ScoredImages, final_card
from monitor.learning.train.scoring import FrameScorer, ScoredFrames, frame_distances, novelty_limit
from monitor.learning.train.training_kinds import fit_kinds
from monitor.models.bundle import ModelBundle, save_bundle
from monitor.models.card import ModelCard
from monitor.models.novelty import NoveltyDetector, fit_novelty_detector


def train_frozen(
    model: Any,
    card: ModelCard,
    truths: Sequence[FrameTruth],
    config: TrainingConfig,
    scorer: FrameScorer,
    *,
    test: Sequence[Sample] = (),
) -> ModelBundle:
    """Train the last layer of `model` on all `truths` and write the bundle to `config.out`.

    `scorer` scores by `model`. The
    threshold and the limit of familiarity come from frames that the layer was not trained on, in turn.
    """
    clean = scorer.score(truths, config.tiling)
    degraded = scorer.degraded_views(truths, config.tiling)
    defective = clean.frames.defective
    features = FrameFeatures.of(truths, config.tiling, clean.tile_features)
    keys = group_keys(
        [truth.sample for truth in truths],
        [truth.content for truth in truths],
        config.group,
        [truth.thumbnail for truth in truths],
    )
    scores, bad_scores = features.cross_validated(keys, defective, degraded[0].tile_features)
    layer = features.fit(np.ones(len(truths), bool))
    layer.store(model)

    familiarity = _familiarity(clean, degraded, folds_of(keys, defective))
    unseen = _images(clean, scores)
    loss = float(-np.log(np.where(defective, unseen.scores, 1 - unseen.scores).clip(1e-7)).mean())
    final = final_card(
        CardDraft(card, (EpochMetrics(loss, loss, unseen.auc),), 1, config.costs),
        unseen,
        degraded=_images(degraded[0], bad_scores),
        tests=scorer.score_tests(test, config.tiling),
        familiarity=familiarity,
    )
    trained = layer.scores(clean.tile_features)
    references = select_references(clean.tiles, trained, final.threshold, config.size)
    kinds = fit_kinds(clean.tiles, features.label, clean.tile_features) if config.kinds else None
    return save_bundle(config.out, model, final, familiarity, references, kinds=kinds)


def _images(scored: ScoredFrames, scores: NDArray[np.float32]) -> ScoredImages:
    """Return the frames of `scored` with other scores of their tiles (t,)."""
    return ScoredImages(frame_scores(scores, scored.starts), scored.frames.features, scored.frames.defective)


def _familiarity(
    clean: ScoredFrames, degraded: Sequence[ScoredFrames], folds: NDArray[np.intp]
) -> NoveltyDetector:
    """Learn what is familiar from all frames; each gives the limit a distance from the others."""
    per_frame = np.diff([*clean.starts, len(clean.tile_scores)])
    tile_folds = np.repeat(folds, per_frame)
    distances = []
    for fold in range(FOLDS):
        aside = tile_folds == fold
        if aside.any() and (~aside).sum() > 1:
            others = fit_novelty_detector(clean.tile_features[~aside], clean.tile_features[aside])
            distances += [frame_distances(others, part)[folds == fold] for part in (clean, *degraded)]
    detector = fit_novelty_detector(clean.tile_features, clean.tile_features)
    return novelty_limit(detector, np.concatenate(distances))
