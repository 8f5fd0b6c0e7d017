"""One training from samples to a bundle."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from monitor.errors import DataError, ModelError, UsageError
from monitor.learning.datasets.fingerprint import group_keys
from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.split import random_split, stratified_split
from monitor.learning.datasets.tiling import FrameTruth, read_truth
from monitor.learning.train.architecture import initial_model
from monitor.learning.train.box_validation import fit_better_head
from monitor.learning.train.checkpoint import (
    Checkpoint,
    EpochMetrics,
    best_epoch,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from monitor.learning.train.config import NullObserver, TrainingConfig, TrainingObserver
from monitor.learning.train.frozen.training import train_frozen
from monitor.learning.train.learner import Learner, Predictor
from monitor.learning.train.preparation import balanced, prepare
from monitor.learning.train.recipe import Recipe
from monitor.learning.train.reference_images import select_references
from monitor.learning.train.remembering import check_start, choose_remembered, inherit, remember
from monitor.learning.train.results import CardDraft, final_card, initial_card
from monitor.learning.train.sampling import TrainingTiles
from monitor.learning.train.scoring import FrameScorer, fit_frame_novelty
from monitor.learning.train.training_kinds import check_kinds, fit_kinds
from monitor.models.bundle import ModelBundle, load_bundle, save_bundle
from monitor.models.card import CARD_NAME, ModelCard


def train(
    samples: Sequence[Sample],
    config: TrainingConfig,
    *,
    test: Sequence[Sample] = (),
    resume: bool = False,
    observer: TrainingObserver = NullObserver(),  # noqa: B008 (has no state)
) -> ModelBundle:
    """Train on `samples` and write the bundle to `config.out`.

    From the first epoch on the folder holds the best model so far, by validation loss, and what `resume`
    needs to continue. `test` is scored once, at the end, for the card's figures. The same samples,
    configuration and machine give the same model. Raises `DataError`, `ModelError` or `UsageError`.
    """
    start = None
    if config.fine_tuned:
        start = load_bundle(Path(config.init))
    elif config.kinds:
        check_kinds(samples)
    if not resume:
        _refuse_to_replace(config)
    everything = [read_truth(sample) for sample in samples]
    if start is not None:
        check_start(start, everything, test)
    if not (config.may_freeze or config.recipe.frozen):
        _divided(everything, config)  # too few images must be known before weights are loaded
    keras.utils.set_random_seed(config.recipe.seed)
    model = initial_model(config.init, config.size)
    scorer = FrameScorer(
        Predictor(model, _initial_card(samples, config)), config.size, config.recipe.batch, config.recipe.seed
    )
    if not config.fine_tuned:
        config = prepare(everything, config, scorer, observer)
    if not config.recipe.frozen:
        return _train_all_layers(model, samples, everything, config, scorer, test, resume, observer)
    _fresh(config, _fingerprint(samples, config))
    card = _initial_card(samples, config, everything, everything)
    if start is not None:
        card = inherit(card, start.card)
    bundle = train_frozen(model, card, everything, config, scorer, observer=observer, test=test, start=start)
    remove_checkpoint(config.out)
    return bundle


def _train_all_layers(  # noqa: PLR0917 (what `train` was given and has made)
    model: Any,
    samples: Sequence[Sample],
    everything: Sequence[FrameTruth],
    config: TrainingConfig,
    scorer: FrameScorer,
    test: Sequence[Sample],
    resume: bool,
    observer: TrainingObserver,
) -> ModelBundle:
    """Train `model` epoch by epoch; `everything` is the truth of `samples`."""
    recipe, tiling = config.recipe, config.tiling
    truths, validation = _divided(everything, config)
    tiles = TrainingTiles(truths, tiling, recipe.seed)
    first = tiles.draw(0)
    steps = max(len(first) // recipe.batch, 1)
    weight = recipe.defect_weight or _good_per_defect(first)
    fingerprint = _fingerprint(samples, config)
    state = load_checkpoint(config.out, fingerprint) if resume else _fresh(config, fingerprint)
    card = _initial_card(samples, config, truths, validation)
    learner = Learner(model, card, recipe, recipe.epochs * steps, weight)
    if state.arrays:
        learner.restore(state.arrays)

    # Scoring all frames, in many tiles each, would take longer than an epoch; to keep the best one takes all.
    followed = validation if recipe.keeps == "best" else balanced(validation, tiling, len(first))
    history = state.history
    observer.began(len(history), recipe.epochs, steps)
    while len(history) < recipe.epochs and not _is_exhausted(history, recipe):
        started_at = time.monotonic()
        batches = scorer.pipeline(tiles.draw(len(history))).training(len(history), augmented=recipe.augmented)
        losses = _learn(learner, batches, observer)
        clean = scorer.score(followed, tiling)
        loss = learner.loss(clean.frames.scores, clean.frames.defective)
        if not np.isfinite([loss, *losses]).all():
            raise ModelError(f"training broke down in epoch {len(history) + 1}: the loss is not finite")
        history = (*history, EpochMetrics(float(np.mean(losses)), loss, clean.frames.auc))
        if best_epoch(history) == len(history):
            draft = CardDraft(card, history, len(history), config.costs)
            save_bundle(config.out, model, final_card(draft, clean.frames), None)
        save_checkpoint(config.out, Checkpoint(fingerprint, history, learner.arrays()))
        observer.epoch_ended(history, time.monotonic() - started_at)

    if recipe.keeps == "best":
        # They are in the bundle; the learner holds those of the last epoch.
        model.set_weights(load_bundle(config.out).keras_model().get_weights())
    if recipe.recalibrated:
        drawn = scorer.pipeline(tiles.draw(recipe.epochs))
        learner.recalibrate(drawn.training(recipe.epochs, augmented=recipe.augmented))
    clean = scorer.score(validation, tiling)
    degraded = scorer.degraded_views(validation, tiling) if recipe.augmented else []
    features = scorer.features(first)
    familiarity = fit_frame_novelty(features, clean, degraded)
    kept_epoch = best_epoch(history) if recipe.keeps == "best" else len(history)
    final = final_card(
        CardDraft(card, history, kept_epoch, config.costs),
        clean.frames,
        degraded=degraded[0].frames if degraded else None,
        tests=scorer.score_tests(test, tiling),
        familiarity=familiarity,
    )
    references = select_references(clean.tiles, clean.tile_scores, final.threshold, config.size)
    labels = np.array([sample.defective for sample in first], np.int8)
    kinds = fit_kinds(first, labels, features) if config.kinds else None
    box_head, final = fit_better_head(model, final, truths, validation, tiling=tiling, seed=recipe.seed)
    memory = remember(scorer, choose_remembered(everything, tiling), test, tiling, config.group)
    bundle = save_bundle(
        config.out,
        model,
        final,
        familiarity,
        references,
        kinds=kinds,
        box_head=box_head,
        memory=memory,
    )
    remove_checkpoint(config.out)
    return bundle


def _learn(learner: Learner, batches: Any, observer: TrainingObserver) -> list[float]:
    losses = []
    for batch in batches:
        losses.append(learner.train_step(*batch))
        observer.stepped(losses[-1])
    return losses


def _initial_card(
    samples: Sequence[Sample],
    config: TrainingConfig,
    trained: Sequence[FrameTruth] = (),
    validated: Sequence[FrameTruth] = (),
) -> ModelCard:
    return initial_card(
        samples,
        name=config.name,
        recipe=config.recipe,
        init=config.init,
        size=config.size,
        command=config.command,
        tiling=config.tiling,
        trained=[truth.content for truth in trained],
        validated=[truth.content for truth in validated],
    )


def _good_per_defect(samples: Sequence[Sample]) -> float:
    defective = sum(sample.defective for sample in samples)
    if not defective:
        raise DataError("no defect can be trained on: in tiles, defective images need a mask")
    return (len(samples) - defective) / defective


def _divided(
    truths: Sequence[FrameTruth], config: TrainingConfig
) -> tuple[list[FrameTruth], list[FrameTruth]]:
    recipe, samples = config.recipe, [truth.sample for truth in truths]
    divide = stratified_split if recipe.split == "stratified" else random_split
    keys = group_keys(
        samples,
        [truth.content for truth in truths],
        config.group,
        [truth.thumbnail for truth in truths],
    )
    kept, _ = divide(samples, recipe.validation_share, f"validation/{recipe.seed}", keys)
    trained_on = set(kept)
    parts = (
        [truth for truth in truths if truth.sample in trained_on],
        [truth for truth in truths if truth.sample not in trained_on],
    )
    for part, name in zip(parts, ("training", "validation"), strict=True):
        found = {truth.sample.defective for truth in part}
        if found != {True, False}:
            missing = "defective" if True not in found else "good"
            raise DataError(
                f"too few images: the {name} part of {len(samples)} images has no {missing} one "
                f"(recipe {recipe.name})"
            )
    return parts


def _refuse_to_replace(config: TrainingConfig) -> None:
    if (config.out / CARD_NAME).exists() and not config.overwrite:
        raise UsageError(
            f"{config.out} already holds a model: name another folder, or add --overwrite "
            "(or --resume to continue an interrupted training)"
        )


def _fresh(config: TrainingConfig, fingerprint: str) -> Checkpoint:
    state = Checkpoint(fingerprint, (), {})
    # A folder that cannot be written must be known now, not after the first epoch.
    save_checkpoint(config.out, state)
    return state


def _is_exhausted(history: tuple[EpochMetrics, ...], recipe: Recipe) -> bool:
    return bool(
        recipe.patience is not None and history and len(history) - best_epoch(history) >= recipe.patience
    )


def _fingerprint(samples: Sequence[Sample], config: TrainingConfig) -> str:
    """A hash of all that decides how a training goes, but not where its data lie."""
    settings = asdict(config.recipe) | {
        "init": config.init,
        "size": config.size,
        "tiling": str(config.tiling),
        "group": config.group,
    }
    names = sorted(f"{sample.surface}/{sample.category}/{sample.path.name}" for sample in samples)
    return hashlib.sha256(repr((sorted(settings.items()), names)).encode()).hexdigest()
