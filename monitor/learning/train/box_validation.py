"""How well boxes fit defects that the box head was not trained on.

    python -m monitor.learning.train.box_validation BUNDLE DATA CLASS... [--write]

cross-validates a box head for BUNDLE on all labelled defects of the classes under DATA, and prints
figures with and without it. It also trains a head on the frames that the network was trained on, and
measures it on the others; `--write` stores this one in BUNDLE. The network stays as it is.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError
from monitor.imaging.geometry import resize_to_input
from monitor.imaging.localisation import locate
from monitor.inference.network import activation_heat
from monitor.learning.datasets import load_image, load_mask, read_samples
from monitor.learning.datasets.tiling import FrameTruth, Tiling, read_truth
from monitor.learning.evaluate.localisation import MISSED, DefectLocalisation, localise_defect
from monitor.learning.train.box_training import (
    FeatureReader,
    collect_examples,
    fit_box_head,
    fit_projection,
    train_head,
)
from monitor.models.box_head import BoxHead
from monitor.models.bundle import ModelBundle, load_bundle, replace_parts
from monitor.models.card import ModelCard
from monitor.records import Box, TileHeatmap

FOLDS = 5

PARTITIONS = 3
"""How often the defects are divided into folds: the figures differ by chance between partitions."""

MINIMUM_AREA = 0.0005
"""The daemon's default."""

SMALL_MASK = 100
"""Masks of fewer pixels are labelling errors in DAGM's Class8; figures are given without them, too."""


@dataclass(frozen=True, slots=True, eq=False)
class FlaggedTile:
    """A tile that was flagged, with its score and the activations of its classification."""

    box: Box
    score: float
    activations: NDArray[np.float16]


@dataclass(frozen=True, slots=True, eq=False)
class CrossValidation:
    """The n defects of all frames, located with boxes from heat alone (`plain`) and from heads.

    `partitions`: n places for each of `PARTITIONS`, by heads that were trained on the other folds. `head` is
    trained on the frames of the network's training, which `trained` (n,) marks; `fitted` are its places.
    """

    plain: Sequence[DefectLocalisation]
    partitions: Sequence[Sequence[DefectLocalisation]]
    head: BoxHead
    fitted: Sequence[DefectLocalisation]
    trained: NDArray[np.bool_]


def cross_validate(bundle: ModelBundle, truths: Sequence[FrameTruth], seed: int = 0) -> CrossValidation:
    """Locate the defects of `truths`, each with a box head that was trained on the other folds.

    Folds are by frame. The network itself knows the frames of its training, and so does the projection, which
    is fitted to their features without labels.
    """
    card, tiling = bundle.card, Tiling.of(bundle.card.training)
    features = FeatureReader(bundle.keras_model(), card)
    flagged = [_flagged_tiles(truth, tiling, features) for truth in truths]
    trained = np.array([_is_trained_on(truth, card) for truth in truths])
    projection = fit_projection(
        features, [truth for truth, is_in in zip(truths, trained, strict=True) if is_in], tiling
    )
    if projection is None:
        raise DataError(f"no heat of {bundle.path} lies on a defect: a box head has nothing to learn from")
    examples = collect_examples(features, projection, truths, tiling, seed)
    partitions = []
    for partition in range(PARTITIONS):
        fold_of = np.random.default_rng((seed, partition)).permutation(len(truths)) % FOLDS
        heads = [
            train_head(projection, examples.of(fold_of[examples.frames] != k), seed) for k in range(FOLDS)
        ]
        partitions.append(
            [
                _located(truth, tiles, card, heads[fold])
                for truth, tiles, fold in zip(truths, flagged, fold_of, strict=True)
            ]
        )
    head = train_head(projection, examples.of(trained[examples.frames]), seed)
    plain, fitted = (
        [_located(truth, tiles, card, used) for truth, tiles in zip(truths, flagged, strict=True)]
        for used in (None, head)
    )
    return CrossValidation(plain, partitions, head, fitted, trained)


def _is_trained_on(truth: FrameTruth, card: ModelCard) -> bool:
    """Whether the network was trained on the frame; older cards do not list their images."""
    known = card.training.trained
    return truth.content in known if known else truth.sample.split != "Test"


def fit_better_head(
    model: Any,
    card: ModelCard,
    training: Sequence[FrameTruth],
    validation: Sequence[FrameTruth],
    *,
    tiling: Tiling,
    seed: int,
) -> tuple[BoxHead | None, ModelCard]:
    """Train a box head for `model` on `training`, and keep it if it improves boxes on `validation`.

    It must raise the median IoU and not lower the fraction found at IoU 0.5. Returns the head, or None, and
    `card` with the figures of both kinds of boxes.
    """
    known = [truth for truth in validation if truth.is_known and truth.sample.defective]
    head = fit_box_head(model, card, training, tiling, seed) if known else None
    if head is None:
        return None, card
    features = FeatureReader(model, card)
    flagged = [_flagged_tiles(truth, tiling, features) for truth in known]
    plain, fitted = (
        summarise([_located(truth, tiles, card, used) for truth, tiles in zip(known, flagged, strict=True)])
        for used in (None, head)
    )
    is_better = (
        fitted["median_overlap"] > plain["median_overlap"] and fitted["found_at_05"] >= plain["found_at_05"]
    )
    card = card.model_copy(update={"figures": {**card.figures, **_figures(plain, fitted)}})
    return head if is_better else None, card


def _figures(plain: Mapping[str, float], fitted: Mapping[str, float]) -> dict[str, float]:
    """Return the card's figures of both kinds of boxes, on validation frames."""
    return {
        f"validation_{name}_{kind}": round(values[name], 6)
        for kind, values in (("heat", plain), ("box_head", fitted))
        for name in ("median_overlap", "found_at_05")
    }


def summarise(places: Sequence[DefectLocalisation]) -> Mapping[str, float]:
    """Return median IoU, fractions found at IoU 0.5 and 0.3, and of peaks inside the mask."""
    overlaps = np.array([place.overlap for place in places])
    return {
        "defects": len(places),
        "median_overlap": float(np.median(overlaps)),
        "found_at_05": float((overlaps >= 0.5).mean()),
        "found_at_03": float((overlaps >= 0.3).mean()),
        "pointing": float(np.mean([place.pointed for place in places])),
    }


def _flagged_tiles(truth: FrameTruth, tiling: Tiling, features: FeatureReader) -> list[FlaggedTile]:
    image, card = load_image(truth.sample), features.card
    boxes = tiling.boxes(truth.width, truth.height)
    inputs = [resize_to_input(box.of(image), card.input_size) for box in boxes]
    activations, scores = features(inputs)
    return [
        FlaggedTile(box, float(score), each.astype(np.float16))
        for box, score, each in zip(boxes, scores, activations, strict=True)
        if score >= card.threshold
    ]


def _located(
    truth: FrameTruth, tiles: Sequence[FlaggedTile], card: ModelCard, head: BoxHead | None
) -> DefectLocalisation:
    heats = []
    for tile in tiles:
        activations = tile.activations.astype(np.float32)
        heat = activation_heat(activations[None], card.localisation.max_n)
        if heat.peak > 0:
            hot = heat.heatmap >= card.localisation.threshold
            extents = None if head is None else head.extents(activations, hot)
            heats.append(TileHeatmap(heat.heatmap, tile.box, heat.peak, tile.score, extents))
    mask = load_mask(truth.sample, truth.height, truth.width)
    if not heats or mask is None:
        return MISSED
    merged, regions = locate(
        heats,
        width=truth.width,
        height=truth.height,
        input_size=card.input_size,
        cell_offset=card.cell_offset,
        threshold=card.localisation.threshold,
        minimum_area=MINIMUM_AREA,
    )
    return localise_defect(merged, regions, mask)


def main(folder: Path, data: Path, classes: Sequence[str], *, write: bool) -> None:
    """Cross-validate, print, and store a head if asked to."""
    bundle = load_bundle(folder)
    truths = [read_truth(sample) for sample in read_samples([data], classes) if sample.defective]
    found = cross_validate(bundle, truths)
    large = [len(truth.points) >= SMALL_MASK for truth in truths]
    rows = [("heat alone", found.plain)]
    rows += [(f"box head, partition {number + 1}", places) for number, places in enumerate(found.partitions)]
    for name, places in rows:
        _print(name, places)
        if not all(large):
            _print(f"{name}, masks of {SMALL_MASK} pixels or more", _only(places, large))
    validated = [truth.content in bundle.card.training.validated for truth in truths]
    unseen = ~found.trained & ~np.array(validated)
    for part, chosen in (("validation frames", validated), ("frames set aside", unseen.tolist())):
        if any(chosen):
            _print(f"heat alone, {part}", _only(found.plain, chosen))
            _print(f"box head of the training frames, {part}", _only(found.fitted, chosen))
    if write:
        figures = {}
        if any(validated):
            parts = (_only(places, validated) for places in (found.plain, found.fitted))
            figures = _figures(*(summarise(places) for places in parts))
        replace_parts(bundle, box_head=found.head, figures=figures)


def _only(places: Sequence[DefectLocalisation], chosen: Sequence[bool]) -> list[DefectLocalisation]:
    return [place for place, is_chosen in zip(places, chosen, strict=True) if is_chosen]


def _print(name: str, places: Sequence[DefectLocalisation]) -> None:
    figures = " ".join(f"{key}={value:.3f}" for key, value in summarise(places).items())
    sys.stdout.write(f"{name}: {figures}\n")


if __name__ == "__main__":
    arguments = [value for value in sys.argv[1:] if value != "--write"]
    main(Path(arguments[0]), Path(arguments[1]), arguments[2:], write="--write" in sys.argv)
