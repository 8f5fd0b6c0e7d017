"""From captured frames to verdicts: one loop over all cameras, batch by batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.records import Heatmap, Image


class Answer(Protocol):
    """The network's answer to b pictures; `monitor.inference.local.Classified` is one."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Probability of a defect, (b,), 0..1."""

    @property
    def features(self) -> NDArray[np.float32]:
        """What the network saw, (b, c)."""

    @property
    def activations(self) -> Sequence[Any]:
        """The explained layer's output, one tensor a picture."""


Classify = Callable[[NDArray[np.uint8]], Answer]
"""Answers a batch (b, h, w, 3) uint8 of pictures at the network's size."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What the judge applies to every frame.

    `classify` answers a (b, h, w, 3) uint8 batch;
    `distance` maps features (b, c) to distances (b,) from the training data, beyond `limit` unfamiliar.
    """

    classify: Classify
    threshold: float
    labels: tuple[str, str]
    batch: int
    distance: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
    limit: float = float("inf")


Proceed = Callable[[int, float], bool]
"""Asked before the first step of an explanation and told after each: maps weighed, the step's seconds."""


Explain = Callable[[Image, Any, Proceed], tuple[Heatmap, float, int]]
"""Of a picture (h, w, 3) uint8 and its activations: heat (rows, columns) 0..1, its strength, maps weighed."""
