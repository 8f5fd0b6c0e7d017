"""What a training came to, as the card of its bundle tells it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets.sample import Sample
from monitor.learning.evaluate.metrics import area_under_roc
from monitor.learning.train.architecture import CAM_LAYER, CELL_OFFSET, CHANNEL_MEAN
from monitor.learning.train.checkpoint import EpochMetrics
from monitor.learning.train.recipe import Recipe
from monitor.models.card import BundleFile, ModelCard, Preprocessing, TrainingInfo
from monitor.models.novelty import NoveltyDetector

CLASSES = ("good", "defect")


DEFECT = 1


PACKAGES = ("defect-monitor", "tensorflow", "keras", "numpy", "opencv-python")


@dataclass(frozen=True, slots=True, eq=False)
class ScoredImages:
    """The network's answers to n pictures: `scores` (n,) 0..1, `features` (n, c), and their labels (n,)."""

    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    defective: NDArray[np.bool_]

    @property
    def auc(self) -> float:
        """Area under the ROC curve, 0..1."""
        return area_under_roc(self.scores.astype(float), self.defective)

    @classmethod
    def together(cls, parts: "Sequence[ScoredImages]") -> "ScoredImages":
        """All of `parts` as one, in their order."""
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.defective for part in parts]),
        )


def initial_card(
    samples: Sequence[Sample], *, name: str, recipe: Recipe, init: str, size: tuple[int, int], command: str
) -> ModelCard:
    """The card of a network that has yet to be trained on `samples`; `size` is (height, width)."""
    parts = Counter((sample.surface, sample.split or "", sample.category) for sample in samples)
    return ModelCard(
        name=name,
        classes=CLASSES,
        defect_class=DEFECT,
        input_height=size[0],
        input_width=size[1],
        preprocessing=Preprocessing(channel_order="bgr", mean=CHANNEL_MEAN),
        cam_layer=CAM_LAYER,
        cell_offset=CELL_OFFSET,
        threshold=0.5,
        threshold_origin="not set yet",
        training=TrainingInfo(
            command=command,
            recipe=recipe.name,
            init=init,
            seed=recipe.seed,
            data=tuple(
                f"{surface}/{split}: {count} {kind}"
                for (surface, split, kind), count in sorted(parts.items())
            ),
            epochs=0,
            kept_epoch=0,
            versions=_versions(),
        ),
        figures={},
        model=BundleFile(file="none.keras", sha256="0" * 64),
    )


def final_card(
    draft: ModelCard,
    history: tuple[EpochMetrics, ...],
    kept_epoch: int,
    validation: ScoredImages,
    *,
    spoiled: ScoredImages | None,
    tests: Mapping[str, ScoredImages] | None = None,
    familiarity: NoveltyDetector | None = None,
) -> ModelCard:
    """`draft` with the threshold of the weights of `kept_epoch`, counted from 1, and figures at it.

    `spoiled` are the validation pictures seen by a bad camera, `tests` other pictures by surface.
    """
    threshold, origin = choose_threshold(validation.scores, validation.defective)
    figures = {"validation_loss": history[kept_epoch - 1].validation_loss}
    parts = {"validation": validation}
    if spoiled is not None:
        parts["spoiled_validation"] = spoiled
    parts |= {f"test_{surface}": judged for surface, judged in (tests or {}).items()}
    for part, judged in parts.items():
        figures |= {f"{part}_{name}": value for name, value in _figures(judged, threshold).items()}
        if familiarity is not None:
            figures[f"{part}_unfamiliar"] = float(familiarity.is_novel(judged.features).mean())
    training = draft.training.model_copy(update={"epochs": len(history), "kept_epoch": kept_epoch})
    return draft.model_copy(
        update={
            "threshold": threshold,
            "threshold_origin": origin,
            "figures": {name: round(value, 6) for name, value in figures.items()},
            "training": training,
        }
    )


def _figures(judged: ScoredImages, threshold: float) -> dict[str, float]:
    good, defects = judged.scores[~judged.defective], judged.scores[judged.defective]
    return {
        "pictures": float(len(judged.scores)),
        "auc": judged.auc,
        "misses": float((defects < threshold).sum()),
        "false_alarms": float((good >= threshold).sum()),
        "lowest_defect": float(defects.min()),
        "highest_good": float(good.max()),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # such as a source tree that is not installed
            continue
    return found


LOGIT_FRACTION = 1 / 3
"""How far up from the highest good score to the lowest defect the threshold lies."""


MIN_THRESHOLD, MAX_THRESHOLD = 0.05, 0.95
"""Bounds of a threshold: a few pictures cannot prove more."""


def choose_threshold(scores: NDArray[np.float32], defective: NDArray[np.bool_]) -> tuple[float, str]:
    """A threshold without a miss among `scores` (n,), 0..1, of pictures labelled `defective` (n,), and why.

    Where good and defective pictures keep apart it lies between them on the logit scale, on which a network's
    confidence is spread evenly; nearer to the good ones, for a missed defect costs more than a second look.
    Else just below the lowest defect, whatever false alarms that costs.
    """
    lowest, highest = float(scores[defective].min()), float(scores[~defective].max())
    count = f"{int(defective.sum())} defective and {int((~defective).sum())} good validation pictures"
    if lowest > highest:
        between = _logit(highest) + LOGIT_FRACTION * (_logit(lowest) - _logit(highest))
        threshold = round(float(np.clip(1 / (1 + np.exp(-between)), MIN_THRESHOLD, MAX_THRESHOLD)), 4)
        if highest < threshold <= lowest:
            return threshold, (
                f"a third of the way, in logits, from the highest good score ({highest:.4f}) to the lowest "
                f"defect ({lowest:.4f}) of {count}: no miss, no false alarm"
            )
    threshold = np.floor(lowest * 0.9 * 1e4) / 1e4
    alarms = int((scores[~defective] >= threshold).sum())
    return float(threshold), (
        f"a tenth below the lowest defect ({lowest:.4f}) of {count}: no miss, {alarms} false alarms"
    )


def _logit(score: float) -> float:
    bounded = min(max(score, 1e-6), 1 - 1e-6)
    return float(np.log(bounded / (1 - bounded)))
