"""Decide before training how frames are cut and how much of the network is trained."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monitor.learning.datasets.fingerprint import group_keys, position
from monitor.learning.datasets.tiling import FrameTruth, Tiling
from monitor.learning.evaluate.metrics import area_under_roc
from monitor.learning.train.config import TrainingConfig, TrainingObserver
from monitor.learning.train.frozen.last_layer import FrameFeatures, frame_scores
from monitor.learning.train.recipe import FROZEN
from monitor.learning.train.scoring import FrameScorer
from monitor.learning.train.tile_proposal import measure_defects, propose_tiles, tiles_for_scale

FEW_DEFECTS = 20
"""Defective images below which the last layer alone is trained."""


TILED_FRAMES = 2500
"""Frames that a training in tiles shows, about: an epoch shows each defect several times."""


MIN_TILED_EPOCHS = 8
"""Epochs in tiles at least; so many gave `dagm-class8`."""


MEASURED_TILES = 1500
"""Tiles on which a way to cut frames is tried at most."""


MIN_MEASURED = 10
"""Frames of either kind that are tried at least."""


MIN_GAIN = 0.01
"""Gain in AUC from which frames are cut: each tile costs a forward pass."""


MIN_FROZEN_AUC = 0.98
"""AUC from which the last layer alone, in tiles, is preferred to all layers on whole frames."""


def prepare(
    truths: Sequence[FrameTruth], config: TrainingConfig, scorer: FrameScorer, observer: TrainingObserver
) -> TrainingConfig:
    """Return `config` with the tiling and the recipe that suit `truths`; each choice is reported."""
    config = replace(config, tiling=_chosen_tiling(truths, config, scorer, observer))
    if config.may_freeze and not config.tiling.is_whole_frame:
        epochs = min(config.recipe.epochs, max(TILED_FRAMES // len(truths), MIN_TILED_EPOCHS))
        config = replace(config, recipe=replace(config.recipe, epochs=epochs))
    defective = [truth for truth in truths if truth.sample.defective]
    unknown = sum(not truth.is_known for truth in defective)
    if config.may_freeze and len(defective) < FEW_DEFECTS:
        observer.say(
            f"{len(defective)} defective images are few: the last layer alone is trained "
            "(--recipe default trains all layers)"
        )
        return replace(config, recipe=replace(FROZEN, seed=config.recipe.seed))
    if unknown and not config.tiling.is_whole_frame and not config.recipe.frozen:
        if config.may_freeze and unknown > len(defective) / 2:
            observer.say(
                f"{unknown} defective images have no mask, so that nobody knows which tile shows the defect: "
                "the last layer alone is trained, on the tile of highest score"
            )
            return replace(config, recipe=replace(FROZEN, seed=config.recipe.seed))
        observer.say(
            f"warning: {unknown} defective images have no mask: none of their tiles is trained on, "
            "since nobody knows which of them shows the defect"
        )
    return config


def _chosen_tiling(
    truths: Sequence[FrameTruth], config: TrainingConfig, scorer: FrameScorer, observer: TrainingObserver
) -> Tiling:
    """How frames are cut, reported together with what it does to small defects."""
    tiling = config.tiling
    if config.auto_tiles:
        tiling = propose_tiles(truths, config.size, tiling)
        observer.say(f"tiles chosen: {tiling}")
    sizes = measure_defects(truths, tiling, config.size)
    if sizes.defects:
        observer.say(f"defects: {sizes}")
    defective = sum(truth.sample.defective for truth in truths)
    are_unknown = sizes.defects < defective / 2
    proposed, least = tiling, 0.0
    if sizes.is_vanishing:
        proposed = propose_tiles(truths, config.size, tiling)
    elif config.may_freeze and are_unknown and sizes.is_shrunk:
        proposed = tiles_for_scale(truths, config.size, tiling)
        # With tiles and without masks the last layer alone can be trained: it must be worth the others.
        least = 0.0 if defective < FEW_DEFECTS else MIN_FROZEN_AUC
    if proposed == tiling or config.auto_tiles:
        return tiling
    if config.measured:
        return _better(truths, config, (tiling, proposed), scorer, observer, least=least)
    rows, columns = proposed.tiles
    observer.say(
        "warning: small defects vanish when the frame is shrunk to the network's input; "
        f"use --tiles {rows}x{columns} --overlap {proposed.overlap:g}, or --tiles auto"
    )
    return tiling


def _better(
    truths: Sequence[FrameTruth],
    config: TrainingConfig,
    candidates: tuple[Tiling, Tiling],
    scorer: FrameScorer,
    observer: TrainingObserver,
    *,
    least: float,
) -> Tiling:
    """Return the second of `candidates` if the last layer alone ranks frames better with it.

    Its AUC must reach `least`, too.
    """
    tried = balanced(truths, candidates[1], MEASURED_TILES)
    defective = np.array([truth.sample.defective for truth in tried])
    keys = group_keys(
        [truth.sample for truth in tried],
        [truth.content for truth in tried],
        config.group,
        [truth.thumbnail for truth in tried],
    )
    found = []
    for candidate in candidates:
        tiles = scorer.score(tried, candidate)
        features = FrameFeatures.of(tried, candidate, tiles.tile_features)
        (scores,) = features.cross_validated(keys, defective)
        found.append(area_under_roc(frame_scores(scores, tiles.starts).astype(float), defective))
    chosen = candidates[found[1] > max(found[0] + MIN_GAIN, least)]
    observer.say(
        f"AUC of {len(tried)} frames with the start weights: {found[0]:.3f} for {candidates[0]}, "
        f"{found[1]:.3f} for {candidates[1]}; chosen: {chosen} (--tiles decides otherwise)"
    )
    return chosen


def balanced(truths: Sequence[FrameTruth], tiling: Tiling, tiles: int) -> list[FrameTruth]:
    """Return frames of `truths` with about `tiles` tiles in `tiling`, half of them defective if possible.

    It returns all frames if they have no more, and not fewer than `MIN_MEASURED` of either kind.
    """
    rows, columns = tiling.tiles
    count = max(tiles // (rows * columns), 2 * MIN_MEASURED)
    if count >= len(truths):
        return list(truths)
    ordered = sorted(truths, key=lambda truth: position(truth.content, "tried"))
    defective = [truth for truth in ordered if truth.sample.defective]
    good = [truth for truth in ordered if not truth.sample.defective]
    few = min(len(defective), len(good), count // 2)
    return defective[: max(few, count - len(good))] + good[: max(few, count - len(defective))]
