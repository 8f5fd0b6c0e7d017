"""All pictures of a set through the network, in batches, as they are and spoilt; the answers as records."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from monitor.dataset import Sample, mask_of, picture_of
from monitor.errors import ModelError
from monitor.evaluate.corruptions import Corruption, Shown
from monitor.evaluate.localisation import MISSED, Localisation, Mask, Place, localisation, place
from monitor.evaluate.network import Network
from monitor.evaluate.scores import Classification, classification
from monitor.records import Heat, Image, Region

SURE = 0.1
"""A score below this, or above one less this, leaves no doubt to whoever reads it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The answer to one picture: `score` 0..1, `distance` from the training data, `place` if masked."""

    sample: Sample
    score: float
    distance: float | None
    place: Place | None


@dataclass(frozen=True, slots=True)
class Strangeness:
    """How many of `pictures` were marked unfamiliar, and how many unmarked ones got a sure answer."""

    pictures: int
    unfamiliar: int
    flagged: int
    sure_and_unmarked: int


@dataclass(frozen=True, slots=True)
class Condition:
    """The figures of one set of pictures in one state.

    `localisation` only where masks are known, `familiarity` only where the bundle knows its training data.
    """

    name: str
    classification: Classification
    localisation: Localisation | None
    familiarity: Strangeness | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that was found; `others` counts pictures of other surfaces, where there were any."""

    judged: tuple[Judged, ...]
    as_recorded: Condition
    spoilt: tuple[Condition, ...]
    others: Strangeness | None


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One picture with all that is to be shown of it, all of the same (height, width)."""

    image: Image
    mask: Mask | None
    heat: Heat
    regions: tuple[Region, ...]


def evaluate(
    network: Network,
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

    def condition(name: str, judged: Sequence[Judged]) -> Condition:
        scores = np.array([one.score for one in judged], float)
        defective = np.array([one.sample.defective for one in judged], bool)
        places = [one.place for one in judged if one.place is not None]
        return Condition(
            name,
            classification(scores, defective, network.threshold, repeats=repeats),
            localisation(places, repeats=repeats) if places else None,
            _strangeness(network, judged),
        )

    judged = tuple(judge(network, samples, None, partial(advance, "as recorded")))
    spoilt = [
        condition(one.name, list(judge(network, samples, one, partial(advance, one.name))))
        for one in corruptions
    ]
    strange = list(judge(network, others, None, partial(advance, "other surfaces")))
    return Evaluation(
        judged=judged,
        as_recorded=condition("as recorded", judged),
        spoilt=tuple(spoilt),
        others=_strangeness(network, strange) if strange else None,
    )


def judge(
    network: Network,
    samples: Sequence[Sample],
    corruption: Corruption | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[Judged]:
    """The answers to `samples`, in order; a batch of pictures is in memory at a time."""
    for start in range(0, len(samples), network.batch):
        batch = samples[start : start + network.batch]
        shown = [_shown(sample, corruption) for sample in batch]
        pictures = np.stack([network.fit(image) for image, _ in shown])
        answer = network.classify(pictures)
        if not np.isfinite(answer.scores).all():
            raise ModelError(f"the model {network.name} answers with scores that are not numbers")
        distances = None if network.distance is None else network.distance(answer.features)
        for index, (sample, (image, mask)) in enumerate(zip(batch, shown, strict=True)):
            score, found = float(answer.scores[index]), None
            if sample.defective and mask is not None and mask.any():
                found = MISSED
                if score >= network.threshold:
                    height, width = image.shape[:2]
                    found = place(
                        *network.localise(
                            pictures[index], answer.activations[index], width=width, height=height
                        ),
                        mask,
                    )
            yield Judged(sample, score, None if distances is None else float(distances[index]), found)
            advance()


def look(network: Network, sample: Sample) -> Look:
    """Read, judge and explain one picture again, whatever its score."""
    image, mask = _shown(sample, None)
    fitted = network.fit(image)
    activations = network.classify(fitted[None]).activations[0]
    heat, regions = network.localise(fitted, activations, width=image.shape[1], height=image.shape[0])
    return Look(image, mask, heat, regions)


def as_document(evaluation: Evaluation, network: Network) -> dict[str, Any]:
    """The evaluation as JSON knows it: figures with `low` and `high`, null where a figure has no meaning."""
    one_by_one = [
        {
            "path": str(one.sample.path),
            "defective": one.sample.defective,
            "score": one.score,
            "distance": one.distance,
            "place": plain(one.place),
        }
        for one in evaluation.judged
    ]
    return {
        "version": 1,
        "model": {"name": network.name, "sha256": network.sha256, "threshold": network.threshold},
        "as_recorded": plain(evaluation.as_recorded),
        "robustness": plain(evaluation.spoilt),
        "other_surfaces": plain(evaluation.others),
        "pictures": one_by_one,
    }


def plain(value: Any) -> Any:
    """Records, at any depth, as JSON has them; a number that is none becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(sample: Sample, corruption: Corruption | None) -> Shown:
    image = picture_of(sample)
    mask = mask_of(sample, *image.shape[:2])
    return (image, mask) if corruption is None else corruption.apply(image, mask)


def _strangeness(network: Network, judged: Sequence[Judged]) -> Strangeness | None:
    if network.distance is None:
        return None
    # A distance that is not a number is unfamiliar too.
    marked = [one.distance is None or not one.distance <= network.limit for one in judged]
    sure = [min(one.score, 1 - one.score) < SURE for one in judged]
    return Strangeness(
        pictures=len(judged),
        unfamiliar=sum(marked),
        flagged=sum(one.score >= network.threshold for one in judged),
        sure_and_unmarked=sum(s and not m for s, m in zip(sure, marked, strict=True)),
    )
