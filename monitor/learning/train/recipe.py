"""How to train, by name."""

from dataclasses import dataclass, replace
from typing import Literal

from monitor.errors import UsageError


@dataclass(frozen=True, slots=True)
class Recipe:
    """The choices of one way to train.

    `defect_weight` multiplies the loss of defective images; None takes the number of good images per
    defective one.
    `mask_weight` is the weight of a second loss: the explained layer, and its most varied maps alone, must
    separate the cells of the defect from the others, where masks are known; 0 switches it off.
    `keeps` is the epoch whose weights count: the one of lowest validation loss, or the last one, which suits
    a falling learning rate. `batch_norm_momentum` is the fraction of its running statistics that a layer
    keeps in a step. Training stops after `patience` epochs without a better validation loss. `frozen` trains
    the last layer alone, on features of the start weights.
    """

    name: str
    epochs: int
    split: Literal["plain", "stratified"]
    seed: int
    learning_rate: float
    schedule: Literal["constant", "cosine"]
    amsgrad: bool
    batch: int
    defect_weight: float | None
    mask_weight: float
    augmented: bool
    patience: int | None
    batch_norm_momentum: float
    recalibrated: bool
    keeps: Literal["best", "last"]
    validation_share: float = 0.2
    frozen: bool = False


ARTICLE = Recipe(
    name="article",
    epochs=15,
    split="plain",
    seed=111,
    learning_rate=1e-3,
    schedule="constant",
    amsgrad=True,
    batch=32,
    defect_weight=6.0,
    mask_weight=0.0,
    augmented=False,
    patience=5,
    batch_norm_momentum=0.99,
    recalibrated=False,
    keeps="best",
)


DEFAULT = Recipe(
    name="default",
    epochs=20,
    split="stratified",
    seed=0,
    learning_rate=3e-4,
    schedule="cosine",
    amsgrad=False,
    batch=16,
    defect_weight=None,
    mask_weight=1.0,
    augmented=True,
    patience=None,
    batch_norm_momentum=0.9,
    recalibrated=True,
    keeps="last",
)


FROZEN = replace(DEFAULT, name="frozen", epochs=1, frozen=True)


RECIPES = {recipe.name: recipe for recipe in (DEFAULT, FROZEN, ARTICLE)}


def recipe_named(name: str) -> Recipe:
    """Return the recipe called `name`; raises `UsageError` with the names that exist."""
    try:
        return RECIPES[name]
    except KeyError as error:
        raise UsageError(f"no recipe is called {name}; choose one of {', '.join(RECIPES)}") from error
