"""One training from samples to a bundle."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from monitor.errors import DataError, ModelError, UsageError
from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.split import random_split, stratified_split
from monitor.learning.train.architecture import (
    load_imagenet_weights,
    load_initial_weights,
    truncated_resnet50,
)
from monitor.learning.train.checkpoint import (
    Checkpoint,
    EpochMetrics,
    best_epoch,
    load_state,
    remove_state,
    save_state,
)
from monitor.learning.train.input_pipeline import InputPipeline
from monitor.learning.train.learner import Learner
from monitor.learning.train.recipe import Recipe
from monitor.learning.train.reference_images import select_references
from monitor.learning.train.results import ScoredImages, final_card, initial_card
from monitor.models.bundle import ModelBundle, load_bundle, save_bundle
from monitor.models.card import CARD_NAME
from monitor.models.novelty import fit_novelty_detector


class TrainingObserver(Protocol):
    """Told how a training goes."""

    def say(self, line: str) -> None:
        """Take a sentence for people."""

    def began(self, done: int, epochs: int, steps: int) -> None:
        """`done` of `epochs` epochs are behind us, each of `steps` steps."""

    def stepped(self, loss: float) -> None:
        """One step is done."""

    def epoch_ended(self, history: Sequence[EpochMetrics], seconds: float) -> None:
        """An epoch is done, the last of `history`."""


class NullObserver:
    """Shows nothing."""

    def say(self, line: str) -> None:
        """Drop it."""

    def began(self, done: int, epochs: int, steps: int) -> None:
        """Drop it."""

    def stepped(self, loss: float) -> None:
        """Drop it."""

    def epoch_ended(self, history: Sequence[EpochMetrics], seconds: float) -> None:
        """Drop it."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What is to be trained.

    `init`: `none`, `imagenet`, an .npz of start weights, or the folder of a bundle. `size`: (height, width)
    of the network's input. `command`: the words that ordered it, for the card. `overwrite`: whether a model
    that is in `out` already may be replaced.
    """

    name: str
    out: Path
    recipe: Recipe
    init: str = "imagenet"
    size: tuple[int, int] = (224, 224)
    command: str = ""
    overwrite: bool = False


def train(
    samples: Sequence[Sample],
    order: TrainingConfig,
    *,
    test: Sequence[Sample] = (),
    resume: bool = False,
    watcher: TrainingObserver = NullObserver(),  # noqa: B008 (has no state)
) -> ModelBundle:
    """Train on `samples` and write the bundle to `order.out`.

    From the first epoch on the folder holds the best model so far, by validation loss, and what `resume` goes
    on from. `test` is judged once, at the end, for the card's figures. The same samples, order and machine
    give the same model. Raises `DataError`, `ModelError` or `UsageError`.
    """
    recipe = order.recipe
    kept, aside = _divided(samples, recipe)
    keras.utils.set_random_seed(recipe.seed)
    training = InputPipeline(kept, order.size, recipe.batch, recipe.seed)
    validation = _Validation(InputPipeline(aside, order.size, recipe.batch, recipe.seed), recipe)
    steps = max(len(kept) // recipe.batch, 1)
    fingerprint = _fingerprint(samples, order)
    state = load_state(order.out, fingerprint) if resume else _fresh(order, fingerprint)
    model = _started(order)
    draft = initial_card(
        samples, name=order.name, recipe=recipe, init=order.init, size=order.size, command=order.command
    )
    defective = sum(sample.defective for sample in kept)
    weight = recipe.defect_weight or (len(kept) - defective) / defective
    learner = Learner(model, draft, recipe, recipe.epochs * steps, weight)
    if state.arrays:
        learner.restore(state.arrays)

    history = state.history
    watcher.began(len(history), recipe.epochs, steps)
    while len(history) < recipe.epochs and not _out_of_patience(history, recipe):
        began = time.monotonic()
        losses = []
        for batch in training.training(len(history), augmented=recipe.augmented):
            losses.append(learner.train_step(*batch))
            watcher.stepped(losses[-1])
        clean, spoiled = validation.judged(learner)
        judged = ScoredImages.together([part for part in (clean, spoiled) if part])
        loss = learner.loss(judged.scores, judged.defective)
        if not np.isfinite([loss, *losses]).all():
            raise ModelError(f"training broke down in epoch {len(history) + 1}: the loss is not finite")
        history = (*history, EpochMetrics(float(np.mean(losses)), loss, judged.auc))
        if best_epoch(history) == len(history):
            save_bundle(
                order.out, model, final_card(draft, history, len(history), clean, spoiled=spoiled), None
            )
        save_state(order.out, Checkpoint(fingerprint, history, learner.arrays()))
        watcher.epoch_ended(history, time.monotonic() - began)

    if recipe.keeps == "best":
        # They are in the bundle; the learner holds the last epoch's.
        model.set_weights(load_bundle(order.out).keras_model().get_weights())
    if recipe.recalibrated:
        learner.recalibrate(training.training(recipe.epochs, augmented=recipe.augmented))
    clean, spoiled = validation.judged(learner)
    familiarity = fit_novelty_detector(_judged(learner, training).features, clean.features)
    tested = {
        surface: _judged(
            learner,
            replace(training, samples=[sample for sample in test if sample.surface == surface]),
        )
        for surface in sorted({sample.surface for sample in test})
    }
    kept_epoch = best_epoch(history) if recipe.keeps == "best" else len(history)
    card = final_card(
        draft, history, kept_epoch, clean, spoiled=spoiled, tests=tested, familiarity=familiarity
    )
    references = select_references(aside, clean.scores, card.threshold, order.size)
    bundle = save_bundle(order.out, model, card, familiarity, references)
    remove_state(order.out)
    return bundle


class _Validation:
    """The pictures set aside, clean and, where the recipe spoils pictures, once more spoiled."""

    def __init__(self, stream: InputPipeline, recipe: Recipe) -> None:
        self._stream = stream
        self._spoiled = recipe.augmented

    def judged(self, learner: Learner) -> tuple[ScoredImages, ScoredImages | None]:
        clean = _judged(learner, self._stream)
        return clean, _judged(learner, self._stream, spoiled=True) if self._spoiled else None


def _judged(learner: Learner, stream: InputPipeline, *, spoiled: bool = False) -> ScoredImages:
    scores, features = learner.predict(stream.judging(degraded=spoiled))
    return ScoredImages(scores, features, np.array([sample.defective for sample in stream.samples], bool))


def _divided(samples: Sequence[Sample], recipe: Recipe) -> tuple[list[Sample], list[Sample]]:
    divide = stratified_split if recipe.split == "stratified" else random_split
    kept, aside = divide(samples, recipe.validation_share, recipe.seed)
    for part, name in ((kept, "training"), (aside, "validation")):
        found = {sample.defective for sample in part}
        if found != {True, False}:
            what = "defective" if True not in found else "good"
            raise DataError(
                f"too few pictures: the {name} part of {len(samples)} pictures has no {what} one "
                f"(recipe {recipe.name})"
            )
    return kept, aside


def _fresh(order: TrainingConfig, fingerprint: str) -> Checkpoint:
    if (order.out / CARD_NAME).exists() and not order.overwrite:
        raise UsageError(
            f"{order.out} already holds a model: name another folder, or say --overwrite "
            "(or --resume to go on with an interrupted training)"
        )
    state = Checkpoint(fingerprint, (), {})
    # A folder that cannot be written is to be known now, not after the first epoch.
    save_state(order.out, state)
    return state


def _started(order: TrainingConfig) -> Any:
    model = truncated_resnet50(size=order.size)
    if order.init == "imagenet":
        load_imagenet_weights(model)
    elif order.init != "none":
        path = Path(order.init)
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


def _out_of_patience(history: tuple[EpochMetrics, ...], recipe: Recipe) -> bool:
    return bool(
        recipe.patience is not None and history and len(history) - best_epoch(history) >= recipe.patience
    )


def _fingerprint(samples: Sequence[Sample], order: TrainingConfig) -> str:
    """A hash of all that decides how a training goes, but not where its data lie."""
    settings = asdict(order.recipe) | {"init": order.init, "size": order.size}
    names = sorted(f"{sample.surface}/{sample.category}/{sample.path.name}" for sample in samples)
    return hashlib.sha256(repr((sorted(settings.items()), names)).encode()).hexdigest()
