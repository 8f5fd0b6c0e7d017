"""What to train, and who follows it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from monitor.learning.datasets.tiling import Tiling
from monitor.learning.evaluate.costs import Costs
from monitor.learning.train.checkpoint import EpochMetrics
from monitor.learning.train.recipe import Recipe


class TrainingObserver(Protocol):
    """Follows a training."""

    def say(self, line: str) -> None:
        """Show a sentence to people."""

    def began(self, done: int, epochs: int, steps: int) -> None:
        """Note that `done` of `epochs` epochs were done before, each of `steps` steps."""

    def stepped(self, loss: float) -> None:
        """Note one step."""

    def epoch_ended(self, history: Sequence[EpochMetrics], seconds: float) -> None:
        """Note an epoch, the last of `history`."""


class NullObserver:
    """Shows nothing."""

    def say(self, line: str) -> None:
        """Drop the line."""

    def began(self, done: int, epochs: int, steps: int) -> None:
        """Drop the note."""

    def stepped(self, loss: float) -> None:
        """Drop the note."""

    def epoch_ended(self, history: Sequence[EpochMetrics], seconds: float) -> None:
        """Drop the note."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What to train.

    `init`: `none`, `imagenet`, an .npz of start weights, or the folder of a bundle. `size`: (height, width)
    of the network's input. `command`: the command line, for the card. `overwrite`: whether a model that is
    in `out` already may be replaced. `tiling`: how the camera's frames are cut; with `auto_tiles` the defects
    decide how many tiles. `group`: a regular expression; images in whose names it finds the same text stay on
    one side of the split. With `measured`, the start weights are tried first, and decide whether frames are
    cut; with `may_freeze` the last layer alone is trained where that suits the data. `kinds`: whether the
    folders of defects name kinds. With `fine_tuned`, `init` is a bundle: its last layer alone is
    trained, and what it has learnt before is not forgotten.
    """

    name: str
    out: Path
    recipe: Recipe
    init: str = "imagenet"
    size: tuple[int, int] = (224, 224)
    command: str = ""
    overwrite: bool = False
    tiling: Tiling = field(default_factory=Tiling)
    auto_tiles: bool = False
    measured: bool = False
    may_freeze: bool = False
    kinds: bool = False
    costs: Costs = field(default_factory=Costs)
    group: str | None = None
    fine_tuned: bool = False
