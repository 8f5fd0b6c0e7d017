"""What a training came to, as the card of its bundle tells it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from monitor.classify.architecture import CAM_LAYER, CELL_OFFSET, CHANNEL_MEAN
from monitor.classify.card import Card, ModelFile, Preprocessing, Training
from monitor.classify.familiarity import Familiarity
from monitor.dataset.sample import Sample
from monitor.evaluate.scores import area_under_roc
from monitor.train.recipe import Recipe
from monitor.train.state import Epoch
from monitor.train.threshold import choose_threshold

CLASSES = ("good", "defect")
DEFECT = 1
PACKAGES = ("defect-monitor", "tensorflow", "keras", "numpy", "opencv-python")


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The network's answers to n pictures: `scores` (n,) 0..1, `features` (n, c), and their labels (n,)."""

    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    defective: NDArray[np.bool_]

    @property
    def auc(self) -> float:
        """Area under the ROC curve, 0..1."""
        return area_under_roc(self.scores.astype(float), self.defective)

    @classmethod
    def together(cls, parts: "Sequence[Judged]") -> "Judged":
        """All of `parts` as one, in their order."""
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.defective for part in parts]),
        )


def draft_card(
    samples: Sequence[Sample], *, name: str, recipe: Recipe, init: str, size: tuple[int, int], command: str
) -> Card:
    """The card of a network that has yet to be trained on `samples`; `size` is (height, width)."""
    parts = Counter((sample.surface, sample.split or "", sample.kind) for sample in samples)
    return Card(
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
        training=Training(
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
        model=ModelFile(file="none.keras", sha256="0" * 64),
    )


def finished_card(
    draft: Card,
    history: tuple[Epoch, ...],
    kept_epoch: int,
    validation: Judged,
    *,
    spoiled: Judged | None,
    tests: Mapping[str, Judged] | None = None,
    familiarity: Familiarity | None = None,
) -> Card:
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
            figures[f"{part}_unfamiliar"] = float(familiarity.unfamiliar(judged.features).mean())
    training = draft.training.model_copy(update={"epochs": len(history), "kept_epoch": kept_epoch})
    return draft.model_copy(
        update={
            "threshold": threshold,
            "threshold_origin": origin,
            "figures": {name: round(value, 6) for name, value in figures.items()},
            "training": training,
        }
    )


def _figures(judged: Judged, threshold: float) -> dict[str, float]:
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
