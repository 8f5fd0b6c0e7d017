"""Scores all images of a set, as recorded and corrupted, and collects the results."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError, printable
from monitor.inference.handle import Evidence
from monitor.learning.datasets import Sample, load_image, load_mask
from monitor.learning.datasets.fingerprint import image_hash
from monitor.learning.evaluate.corruptions import Corruption, ImageAndMask
from monitor.learning.evaluate.localisation import (
    MISSED,
    DefectLocalisation,
    LocalisationMetrics,
    Mask,
    localisation,
    localise_defect,
)
from monitor.learning.evaluate.metrics import ClassificationMetrics, classification
from monitor.learning.evaluate.model_under_test import ModelUnderTest
from monitor.records import Heatmap, Image, Region

CONFIDENT = 0.1
"""A score below this, or above one minus this, counts as confident."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The result of one image.

    `score` 0..1; `distance` from the training data; `localisation` where the mask is known; `used`: what the
    model's training used the image for; `kind`: the kind of defect that a flagged image's event would name.
    """

    sample: Sample
    score: float
    distance: float | None
    localisation: DefectLocalisation | None
    used: Literal["train", "validation"] | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class NoveltyReport:
    """How many of `pictures` are unfamiliar; `sure_and_unmarked`: familiar ones with a confident score."""

    pictures: int
    unfamiliar: int
    flagged: int
    sure_and_unmarked: int


@dataclass(frozen=True, slots=True)
class TestCondition:
    """The figures of one set of images in one condition.

    `localisation` only where masks are known, `familiarity` only where the bundle has a novelty detector.
    """

    name: str
    classification: ClassificationMetrics
    localisation: LocalisationMetrics | None
    familiarity: NoveltyReport | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All results; `others` counts images of other surfaces, where there are any."""

    results: tuple[ImageResult, ...]
    as_recorded: TestCondition
    degraded: tuple[TestCondition, ...]
    others: NoveltyReport | None


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedImage:
    """One image with its mask, heat and regions, all of the same (height, width)."""

    image: Image
    mask: Mask | None
    heat: Heatmap
    regions: tuple[Region, ...]


def evaluate(
    model: ModelUnderTest,
    samples: Sequence[Sample],
    *,
    corruptions: Sequence[Corruption] = (),
    others: Sequence[Sample] = (),
    repeats: int = 1000,
    advance: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Evaluate `samples` as recorded and after each of `corruptions`, and `others`, images of other surfaces.

    `repeats` is the number of bootstrap repetitions. `advance` is called after each image with the name of
    its condition. Raises DataError for an image or mask that cannot be used, ModelError for scores that are
    no numbers.
    """

    def condition(name: str, results: Sequence[ImageResult]) -> TestCondition:
        scores = np.array([one.score for one in results], float)
        defective = np.array([one.sample.defective for one in results], bool)
        places = [one.localisation for one in results if one.localisation is not None]
        return TestCondition(
            name,
            classification(scores, defective, model.threshold, repeats=repeats),
            localisation(places, repeats=repeats) if places else None,
            _novelty(model, results),
        )

    results = tuple(score_images(model, samples, None, partial(advance, "as recorded")))
    degraded = [
        condition(one.name, list(score_images(model, samples, one, partial(advance, one.name))))
        for one in corruptions
    ]
    unknown = list(score_images(model, others, None, partial(advance, "other surfaces")))
    return Evaluation(
        results=results,
        as_recorded=condition("as recorded", results),
        degraded=tuple(degraded),
        others=_novelty(model, unknown) if unknown else None,
    )


def score_images(
    model: ModelUnderTest,
    samples: Sequence[Sample],
    corruption: Corruption | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[ImageResult]:
    """Score `samples` in their order; a frame's score is the highest of its tiles, as in the daemon."""
    per_frame = model.tiling.tiles[0] * model.tiling.tiles[1]
    step = max(model.batch // per_frame, 1)
    for start in range(0, len(samples), step):
        batch = samples[start : start + step]
        originals = [load_image(sample) for sample in batch]
        shown = [
            _corrupted(sample, image, corruption) for sample, image in zip(batch, originals, strict=True)
        ]
        cut = [model.cut(image) for image, _ in shown]
        inputs = np.stack([fitted for _, tiles in cut for fitted in tiles])
        scores, evidence, distances, kinds = _classify(model, inputs)
        first = 0
        for sample, original, (image, mask), (boxes, tiles) in zip(batch, originals, shown, cut, strict=True):
            own = slice(first, first + len(boxes))
            first = own.stop
            score, found = float(scores[own].max()), None
            if sample.defective and mask is not None and mask.any():
                found = MISSED
                if score >= model.threshold:
                    flagged = [
                        (box, fitted, own_evidence, float(value))
                        for box, fitted, own_evidence, value in zip(
                            boxes, tiles, evidence[own], scores[own], strict=True
                        )
                        if value >= model.threshold
                    ]
                    height, width = image.shape[:2]
                    found = localise_defect(*model.localise(flagged, width=width, height=height), mask)
            # A distance that is not a number must stay visible: max() would drop it.
            distance = None if distances is None else float(np.max(distances[own]))
            kind = kinds[own.start + int(scores[own].argmax())] if kinds else None
            yield ImageResult(sample, score, distance, found, _use(model, original), kind)
            advance()


def _classify(
    model: ModelUnderTest, inputs: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], list[Evidence | None], NDArray[np.float64] | None, list[str | None]]:
    """Return scores (t,), evidence, distances (t,) and kinds of any number of `inputs` (t, h, w, 3)."""
    scores: list[NDArray[np.float32]] = []
    evidence: list[Evidence | None] = []
    distances: list[float] = []
    kinds: list[str | None] = []
    for start in range(0, len(inputs), model.batch):
        answer = model.classify(inputs[start : start + model.batch])
        if not np.isfinite(answer.scores).all():
            raise ModelError(f"the model {model.name} returns scores that are not numbers")
        scores.append(answer.scores)
        evidence += answer.evidence
        kinds += answer.kinds
        distances += [novelty.distance for novelty in answer.novelty if novelty is not None]
    known = len(distances) == len(inputs)
    return np.concatenate(scores), evidence, np.array(distances) if known else None, kinds


def _use(model: ModelUnderTest, image: Image) -> Literal["train", "validation"] | None:
    """What the model's training used `image` for."""
    if not model.trained_on and not model.validated_on:
        return None
    content = image_hash(image)
    if content in model.trained_on:
        return "train"
    return "validation" if content in model.validated_on else None


def explain_image(model: ModelUnderTest, sample: Sample) -> ExplainedImage:
    """Read, classify and explain one image again: its flagged tiles, or the one of highest score."""
    image, mask = _corrupted(sample, load_image(sample), None)
    boxes, tiles = model.cut(image)
    scores, evidence, _, _ = _classify(model, np.stack(tiles))
    limit = min(model.threshold, float(scores.max()))
    flagged = [
        (box, fitted, own_evidence, float(score))
        for box, fitted, own_evidence, score in zip(boxes, tiles, evidence, scores, strict=True)
        if score >= limit
    ]
    heat, regions = model.localise(flagged, width=image.shape[1], height=image.shape[0])
    return ExplainedImage(image, mask, heat, regions)


def as_document(evaluation: Evaluation, model: ModelUnderTest) -> dict[str, Any]:
    """Return the evaluation for JSON: figures with `low` and `high`, null where a figure has no meaning."""
    one_by_one = [
        {
            "path": printable(one.sample.path),
            "defective": one.sample.defective,
            "score": one.score,
            "distance": one.distance,
            "place": to_json(one.localisation),
            "used": one.used,
            "kind": one.kind,
        }
        for one in evaluation.results
    ]
    return {
        "version": 1,
        "model": {"name": model.name, "sha256": model.sha256, "threshold": model.threshold},
        "frames": to_json(model.tiling),
        "as_recorded": to_json(evaluation.as_recorded),
        "robustness": to_json(evaluation.degraded),
        "other_surfaces": to_json(evaluation.others),
        "pictures": one_by_one,
    }


def to_json(value: Any) -> Any:
    """Return records, at any depth, for JSON; a number that is not finite becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _corrupted(sample: Sample, image: Image, corruption: Corruption | None) -> ImageAndMask:
    mask = load_mask(sample, *image.shape[:2])
    return (image, mask) if corruption is None else corruption.apply(image, mask)


def _novelty(model: ModelUnderTest, results: Sequence[ImageResult]) -> NoveltyReport | None:
    if model.limit is None:
        return None
    # A distance that is not a number is unfamiliar too.
    marked = [one.distance is None or not one.distance <= model.limit for one in results]
    confident = [min(one.score, 1 - one.score) < CONFIDENT for one in results]
    return NoveltyReport(
        pictures=len(results),
        unfamiliar=sum(marked),
        flagged=sum(one.score >= model.threshold for one in results),
        sure_and_unmarked=sum(s and not m for s, m in zip(confident, marked, strict=True)),
    )
