"""Whatever `auto` takes on this machine, and each other way it has, judges real images as fp32 does."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.classify.bundle import Bundle, load_bundle
from monitor.classify.classifier import Classifier
from monitor.classify.ready import ready
from monitor.classify.ways import Wanted, runnable
from monitor.dataset import read_samples
from monitor.dataset.sample import picture_of
from monitor.evaluate.corruptions import CORRUPTIONS
from monitor.locate.fit import fit

PLAIN = Wanted(device="cpu", runtime="tensorflow", precision="fp32")
RECORDED = 400
"""Pictures that come first, as they were recorded."""
WAYS = [way for way in runnable("cpu") if way != ("tensorflow", "fp32")]


@pytest.fixture(scope="module")
def bundle(shipped_bundle: Path) -> Bundle:
    return load_bundle(shipped_bundle)


@pytest.fixture(scope="module")
def pictures(bundle: Bundle, dagm_root: Path) -> np.ndarray:
    """All images of Class1, training ones as well, and each of the tests' ones with every corruption."""
    samples = read_samples([dagm_root], ["Class1"])
    shown = [picture_of(sample) for sample in samples]
    spoilt = [
        corruption.apply(image, None)[0]
        for sample, image in zip(samples, shown, strict=True)
        if sample.split == "Test"
        for corruption in CORRUPTIONS
    ]
    return np.stack([fit(image, bundle.card.input_size) for image in itertools.chain(shown, spoilt)])


@pytest.fixture(scope="module")
def plain(bundle: Bundle) -> Classifier:
    return ready(bundle, PLAIN)


@pytest.mark.soak
@pytest.mark.parametrize(("runtime", "precision"), WAYS)
def test_scores_stay_within_two_hundredths_and_verdicts_as_they_are(
    bundle: Bundle, plain: Classifier, pictures: np.ndarray, runtime: Any, precision: Any
) -> None:
    other = ready(bundle, Wanted(device="cpu", runtime=runtime, precision=precision))
    threshold = bundle.card.threshold
    wanted, given = plain.classify(pictures).scores, other.classify(pictures).scores
    moved = np.abs(given - wanted)
    changed = (given >= threshold) != (wanted >= threshold)
    cells = _peaks(plain, other, pictures[wanted >= threshold][:60])
    print(
        f"{runtime} {precision}: {len(pictures)} pictures, {changed.sum()} verdicts changed, scores moved by "
        f"{moved.max():.4f} at most, {np.sort(moved)[-2]:.4f} but for one, "
        f"of flagged ones by {moved[wanted >= threshold].max():.4f}, "
        f"nearest score to the threshold {np.abs(wanted - threshold).min():.4f}, "
        f"warmest cell moved by {cells}"
    )
    assert changed.sum() == 0
    assert moved[:RECORDED].max() <= 0.02
    assert moved[wanted >= threshold].max() <= 0.02  # of these the score is published
    assert moved.max() <= 0.04  # of spoilt pictures that are clean all the same
    assert cells <= 1


def _peaks(plain: Classifier, other: Classifier, flagged: np.ndarray) -> int:
    """The farthest that the warmest cell moves, in cells."""
    farthest = 0
    for picture in flagged:
        places = []
        for classifier in (plain, other):
            kept = classifier.classify(picture[None]).activations[0]
            heat, _, _ = classifier.explain(picture, kept)
            places.append(np.array(np.unravel_index(int(heat.argmax()), heat.shape)))
        farthest = max(farthest, int(np.abs(places[0] - places[1]).max()))
    return farthest
