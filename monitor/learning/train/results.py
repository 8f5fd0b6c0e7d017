"""The result of a training, as the card of its bundle records it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.tiling import Tiling
from monitor.learning.evaluate.costs import Costs
from monitor.learning.evaluate.metrics import area_under_roc
from monitor.learning.train.architecture import CAM_LAYER, CELL_OFFSET, CHANNEL_MEAN
from monitor.learning.train.checkpoint import EpochMetrics
from monitor.learning.train.recipe import Recipe
from monitor.learning.train.threshold import choose_threshold
from monitor.models.card import BundleFile, ModelCard, Preprocessing, TrainingInfo
from monitor.models.novelty import NoveltyDetector

CLASSES = ("good", "defect")


DEFECT = 1


PACKAGES = ("defect-monitor", "tensorflow", "keras", "numpy", "opencv-python")


@dataclass(frozen=True, slots=True, eq=False)
class ScoredImages:
    """The network's answers to n frames: `scores` (n,) 0..1, `features` (n, c), and their labels (n,)."""

    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    defective: NDArray[np.bool_]

    @property
    def auc(self) -> float:
        """Area under the ROC curve, 0..1."""
        return area_under_roc(self.scores.astype(float), self.defective)


@dataclass(frozen=True, slots=True)
class CardDraft:
    """A card before its threshold is known: `history` so far, `kept_epoch` counted from 1, and `costs`."""

    card: ModelCard
    history: tuple[EpochMetrics, ...]
    kept_epoch: int
    costs: Costs


def initial_card(
    samples: Sequence[Sample],
    *,
    name: str,
    recipe: Recipe,
    init: str,
    size: tuple[int, int],
    command: str,
    tiling: Tiling = Tiling(),  # noqa: B008 (frozen)
    trained: Sequence[str] = (),
    validated: Sequence[str] = (),
) -> ModelCard:
    """Return the card of a network before it is trained on `samples`.

    `size` is (height, width) of the input; `trained` and `validated` are hashes of images.
    """
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
            roi=tiling.roi,
            tiles=tiling.tiles,
            overlap=tiling.overlap,
            trained=tuple(sorted(trained)),
            validated=tuple(sorted(validated)),
        ),
        figures={},
        model=BundleFile(file="none.keras", sha256="0" * 64),
    )


def final_card(
    draft: CardDraft,
    validation: ScoredImages,
    *,
    degraded: ScoredImages | None = None,
    surfaces: Mapping[str, ScoredImages] | None = None,
    tests: Mapping[str, ScoredImages] | None = None,
    familiarity: NoveltyDetector | None = None,
) -> ModelCard:
    """Complete the card of `draft` with a threshold and the figures at it.

    `degraded` are the validation frames as a bad camera shows them, `surfaces` and `tests` are
    the validation frames and other frames by surface.
    """
    chosen = choose_threshold(
        validation.scores,
        validation.defective,
        draft.costs,
        degraded=None if degraded is None else degraded.scores,
    )
    figures = {"validation_loss": draft.history[draft.kept_epoch - 1].validation_loss, **chosen.figures}
    parts = {"validation": validation}
    if degraded is not None:
        parts["spoiled_validation"] = degraded
    if surfaces is not None and len(surfaces) > 1:
        parts |= {f"validation_{surface}": scored for surface, scored in surfaces.items()}
    parts |= {f"test_{surface}": scored for surface, scored in (tests or {}).items()}
    for part, scored in parts.items():
        figures |= {f"{part}_{name}": value for name, value in _figures(scored, chosen.value).items()}
        if familiarity is not None:
            figures[f"{part}_unfamiliar"] = float(familiarity.is_novel(scored.features).mean())
    training = draft.card.training.model_copy(
        update={"epochs": len(draft.history), "kept_epoch": draft.kept_epoch}
    )
    return draft.card.model_copy(
        update={
            "threshold": chosen.value,
            "threshold_origin": chosen.origin,
            "figures": {name: round(value, 6) for name, value in figures.items()},
            "training": training,
        }
    )


def _figures(scored: ScoredImages, threshold: float) -> dict[str, float]:
    good, defects = scored.scores[~scored.defective], scored.scores[scored.defective]
    figures = {
        "pictures": float(len(scored.scores)),
        "misses": float((defects < threshold).sum()),
        "false_alarms": float((good >= threshold).sum()),
    }
    # A small part may hold one label alone.
    if defects.size and good.size:
        figures["auc"] = scored.auc
    if defects.size:
        figures["lowest_defect"] = float(defects.min())
    if good.size:
        figures["highest_good"] = float(good.max())
    return figures


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # such as a source tree that is not installed
            continue
    return found
