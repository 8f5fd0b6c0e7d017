"""All pictures of a set through the network, in batches, as they are and spoilt; the answers as records."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from monitor.errors import ModelError, printable
from monitor.learning.datasets import Sample, load_image, load_mask
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
"""A score below this, or above one less this, leaves no doubt to whoever reads it."""


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The answer to one picture: `score` 0..1, `distance` from the training data, `place` if masked."""

    sample: Sample
    score: float
    distance: float | None
    localise_defect: DefectLocalisation | None


@dataclass(frozen=True, slots=True)
class NoveltyReport:
    """How many of `pictures` were marked unfamiliar, and how many unmarked ones got a sure answer."""

    pictures: int
    unfamiliar: int
    flagged: int
    sure_and_unmarked: int


@dataclass(frozen=True, slots=True)
class TestCondition:
    """The figures of one set of pictures in one state.

    `localisation` only where masks are known, `familiarity` only where the bundle knows its training data.
    """

    name: str
    classification: ClassificationMetrics
    localisation: LocalisationMetrics | None
    familiarity: NoveltyReport | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was found; `others` counts pictures of other surfaces, where there were any."""

    judged: tuple[ImageResult, ...]
    as_recorded: TestCondition
    degraded: tuple[TestCondition, ...]
    others: NoveltyReport | None


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedImage:
    """One picture with all that is to be shown of it, all of the same (height, width)."""

    image: Image
    mask: Mask | None
    heat: Heatmap
    regions: tuple[Region, ...]


def evaluate(
    network: ModelUnderTest,
    samples: Sequence[Sample],
    *,
    corruptions: Sequence[Corruption] = (),
    others: Sequence[Sample] = (),
    repeats: int = 1000,
    advance: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Judge `samples` as they are and after each of `corruptions`, and `others`, pictures of other surfaces.

    `repeats` sizes the bootstrap. `advance` is called after each picture with the name of the state it was
    in. Raises DataError for a picture or mask that cannot be used, ModelError for scores that are no numbers.
    """

    def condition(name: str, judged: Sequence[ImageResult]) -> TestCondition:
        scores = np.array([one.score for one in judged], float)
        defective = np.array([one.sample.defective for one in judged], bool)
        places = [one.localise_defect for one in judged if one.localise_defect is not None]
        return TestCondition(
            name,
            classification(scores, defective, network.threshold, repeats=repeats),
            localisation(places, repeats=repeats) if places else None,
            _strangeness(network, judged),
        )

    judged = tuple(score_images(network, samples, None, partial(advance, "as recorded")))
    spoilt = [
        condition(one.name, list(score_images(network, samples, one, partial(advance, one.name))))
        for one in corruptions
    ]
    strange = list(score_images(network, others, None, partial(advance, "other surfaces")))
    return Evaluation(
        judged=judged,
        as_recorded=condition("as recorded", judged),
        degraded=tuple(spoilt),
        others=_strangeness(network, strange) if strange else None,
    )


def score_images(
    network: ModelUnderTest,
    samples: Sequence[Sample],
    corruption: Corruption | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[ImageResult]:
    """The answers to `samples`, in order; a batch of pictures is in memory at a time."""
    for start in range(0, len(samples), network.batch):
        batch = samples[start : start + network.batch]
        shown = [_shown(sample, corruption) for sample in batch]
        pictures = np.stack([network.fit(image) for image, _ in shown])
        answer = network.classify(pictures)
        if not np.isfinite(answer.scores).all():
            raise ModelError(f"the model {network.name} answers with scores that are not numbers")
        for index, (sample, (image, mask)) in enumerate(zip(batch, shown, strict=True)):
            score, found = float(answer.scores[index]), None
            if sample.defective and mask is not None and mask.any():
                found = MISSED
                if score >= network.threshold:
                    height, width = image.shape[:2]
                    found = localise_defect(
                        *network.localise(
                            pictures[index], answer.evidence[index], width=width, height=height
                        ),
                        mask,
                    )
            novelty = answer.novelty[index]
            yield ImageResult(sample, score, None if novelty is None else novelty.distance, found)
            advance()


def explain_image(network: ModelUnderTest, sample: Sample) -> ExplainedImage:
    """Read, judge and explain one picture again, whatever its score."""
    image, mask = _shown(sample, None)
    fitted = network.fit(image)
    heat, regions = network.localise(fitted, None, width=image.shape[1], height=image.shape[0])
    return ExplainedImage(image, mask, heat, regions)


def as_document(evaluation: Evaluation, network: ModelUnderTest) -> dict[str, Any]:
    """The evaluation as JSON knows it: figures with `low` and `high`, null where a figure has no meaning."""
    one_by_one = [
        {
            "path": printable(one.sample.path),
            "defective": one.sample.defective,
            "score": one.score,
            "distance": one.distance,
            "place": to_json(one.localise_defect),
        }
        for one in evaluation.judged
    ]
    return {
        "version": 1,
        "model": {"name": network.name, "sha256": network.sha256, "threshold": network.threshold},
        "as_recorded": to_json(evaluation.as_recorded),
        "robustness": to_json(evaluation.degraded),
        "other_surfaces": to_json(evaluation.others),
        "pictures": one_by_one,
    }


def to_json(value: Any) -> Any:
    """Records, at any depth, as JSON has them; a number that is none becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(sample: Sample, corruption: Corruption | None) -> ImageAndMask:
    image = load_image(sample)
    mask = load_mask(sample, *image.shape[:2])
    return (image, mask) if corruption is None else corruption.apply(image, mask)


def _strangeness(network: ModelUnderTest, judged: Sequence[ImageResult]) -> NoveltyReport | None:
    if network.limit is None:
        return None
    # A distance that is not a number is unfamiliar too.
    marked = [one.distance is None or not one.distance <= network.limit for one in judged]
    sure = [min(one.score, 1 - one.score) < CONFIDENT for one in judged]
    return NoveltyReport(
        pictures=len(judged),
        unfamiliar=sum(marked),
        flagged=sum(one.score >= network.threshold for one in judged),
        sure_and_unmarked=sum(s and not m for s, m in zip(sure, marked, strict=True)),
    )
