"""One training from samples to a bundle."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from monitor.errors import DataError, ModelError, UsageError
from monitor.learning.datasets.fingerprint import group_keys
from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.split import random_split, stratified_split
from monitor.learning.datasets.tiling import FrameTruth, Tiling, read_truth
from monitor.learning.train.architecture import (
    load_imagenet_weights,
    load_initial_weights,
    truncated_resnet50,
)
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
from monitor.learning.train.input_pipeline import InputPipeline
from monitor.learning.train.learner import Learner
from monitor.learning.train.recipe import Recipe
from monitor.learning.train.reference_images import select_references
from monitor.learning.train.results import CardDraft, final_card, initial_card
from monitor.learning.train.sampling import TrainingTiles
from monitor.learning.train.scoring import ScoredFrames, fit_frame_novelty, score_frames
from monitor.learning.train.tile_proposal import measure_defects, propose_tiles
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
    recipe = config.recipe
    everything = [read_truth(sample) for sample in samples]
    config = replace(config, tiling=_chosen_tiling(everything, config, observer))
    truths, validation = _divided(everything, config)

    keras.utils.set_random_seed(recipe.seed)
    tiles = TrainingTiles(truths, config.tiling, recipe.seed)
    first = tiles.draw(0)
    steps = max(len(first) // recipe.batch, 1)
    weight = recipe.defect_weight or _good_per_defect(first)
    fingerprint = _fingerprint(samples, config)
    state = load_checkpoint(config.out, fingerprint) if resume else _fresh(config, fingerprint)
    model = _initial_model(config)
    card = _initial_card(samples, config, truths, validation)
    learner = Learner(model, card, recipe, recipe.epochs * steps, weight)
    if state.arrays:
        learner.restore(state.arrays)

    def pipeline(chosen: Sequence[Sample]) -> InputPipeline:
        return InputPipeline(chosen, config.size, recipe.batch, recipe.seed)

    def scored(frames: Sequence[FrameTruth], *, degraded: bool = False) -> ScoredFrames:
        return score_frames(frames, config.tiling, pipeline, learner.predict, degraded=degraded)

    history = state.history
    observer.began(len(history), recipe.epochs, steps)
    while len(history) < recipe.epochs and not _is_exhausted(history, recipe):
        started_at = time.monotonic()
        batches = pipeline(tiles.draw(len(history))).training(len(history), augmented=recipe.augmented)
        losses = _learn(learner, batches, observer)
        clean = scored(validation)
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
        drawn = pipeline(tiles.draw(recipe.epochs))
        learner.recalibrate(drawn.training(recipe.epochs, augmented=recipe.augmented))
    clean = scored(validation)
    degraded = scored(validation, degraded=True) if recipe.augmented else None
    _, features = learner.predict(pipeline(first).judging(degraded=False))
    familiarity = fit_frame_novelty(features, clean, degraded)
    kept_epoch = best_epoch(history) if recipe.keeps == "best" else len(history)
    final = final_card(
        CardDraft(card, history, kept_epoch, config.costs),
        clean.frames,
        degraded=None if degraded is None else degraded.frames,
        tests={
            surface: scored([read_truth(sample) for sample in test if sample.surface == surface]).frames
            for surface in sorted({sample.surface for sample in test})
        },
        familiarity=familiarity,
    )
    references = select_references(clean.tiles, clean.tile_scores, final.threshold, config.size)
    box_head, final = fit_better_head(
        model, final, truths, validation, tiling=config.tiling, seed=recipe.seed
    )
    bundle = save_bundle(config.out, model, final, familiarity, references=references, box_head=box_head)
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
    trained: Sequence[FrameTruth],
    validated: Sequence[FrameTruth],
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


def _chosen_tiling(
    truths: Sequence[FrameTruth], config: TrainingConfig, observer: TrainingObserver
) -> Tiling:
    """How frames are cut, reported together with what it does to small defects."""
    tiling = config.tiling
    if config.auto_tiles:
        tiling = propose_tiles(truths, config.size, tiling)
        observer.say(f"tiles chosen: {tiling}")
    sizes = measure_defects(truths, tiling, config.size)
    if sizes.defects:
        observer.say(f"defects: {sizes}")
    if sizes.is_vanishing and not config.auto_tiles:
        proposed = propose_tiles(truths, config.size, tiling)
        rows, columns = proposed.tiles
        observer.say(
            "warning: small defects vanish when the frame is shrunk to the network's input; "
            f"use --tiles {rows}x{columns} --overlap {proposed.overlap:g}, or --tiles auto"
        )
    unknown = sum(not truth.is_known for truth in truths)
    if unknown and not tiling.is_whole_frame:
        observer.say(
            f"warning: {unknown} defective images have no mask: none of their tiles is trained on, "
            "since nobody knows which of them shows the defect"
        )
    return tiling


def _divided(
    truths: Sequence[FrameTruth], config: TrainingConfig
) -> tuple[list[FrameTruth], list[FrameTruth]]:
    recipe, samples = config.recipe, [truth.sample for truth in truths]
    divide = stratified_split if recipe.split == "stratified" else random_split
    keys = group_keys(samples, [truth.content for truth in truths], config.group)
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


def _fresh(config: TrainingConfig, fingerprint: str) -> Checkpoint:
    if (config.out / CARD_NAME).exists() and not config.overwrite:
        raise UsageError(
            f"{config.out} already holds a model: name another folder, or add --overwrite "
            "(or --resume to continue an interrupted training)"
        )
    state = Checkpoint(fingerprint, (), {})
    # A folder that cannot be written must be known now, not after the first epoch.
    save_checkpoint(config.out, state)
    return state


def _initial_model(config: TrainingConfig) -> Any:
    model = truncated_resnet50(size=config.size)
    if config.init == "imagenet":
        load_imagenet_weights(model)
    elif config.init != "none":
        path = Path(config.init)
        if path.is_dir():
            _copy_weights(load_bundle(path).keras_model(), model, path)
        else:
            load_initial_weights(model, path)
    return model


def _copy_weights(source: Any, target: Any, path: Path) -> None:
    weights = source.get_weights()
    if [value.shape for value in weights] != [value.shape for value in target.get_weights()]:
        raise ModelError(f"the model at {path} is not the network that is trained here")
    target.set_weights(weights)


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
