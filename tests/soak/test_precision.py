"""Whatever `auto` takes on this machine, and each other way it has, judges real images as fp32 does."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.imaging.geometry import resize_to_input
from monitor.inference.backends.base import is_installed
from monitor.inference.candidates import InferenceOptions, available_backends
from monitor.inference.local import LocalModel
from monitor.inference.precision import score_error
from monitor.learning.datasets import read_samples
from monitor.learning.datasets.sample import load_image
from monitor.learning.evaluate.corruptions import CORRUPTIONS
from monitor.models.bundle import ModelBundle, load_bundle

PLAIN = InferenceOptions(device="cpu", runtime="tensorflow", precision="fp32")
RECORDED = 400
"""Pictures that come first, as they were recorded."""
WAYS = [way for way in available_backends("cpu") if way != ("tensorflow", "fp32")]
WAYS += [("openvino", "screened")] if is_installed("openvino") else []


@pytest.fixture(scope="module")
def bundle(shipped_bundle: Path) -> ModelBundle:
    return load_bundle(shipped_bundle)


@pytest.fixture(scope="module")
def pictures(bundle: ModelBundle, dagm_root: Path) -> np.ndarray:
    """All images of Class1, training ones as well, and each of the tests' ones with every corruption."""
    samples = read_samples([dagm_root], ["Class1"])
    shown = [load_image(sample) for sample in samples]
    spoilt = [
        corruption.apply(image, None)[0]
        for sample, image in zip(samples, shown, strict=True)
        if sample.split == "Test"
        for corruption in CORRUPTIONS
    ]
    return np.stack(
        [resize_to_input(image, bundle.card.input_size) for image in itertools.chain(shown, spoilt)]
    )


def load(bundle: ModelBundle, options: InferenceOptions) -> LocalModel:
    model = LocalModel(bundle, options)
    model.load()
    return model


@pytest.fixture(scope="module")
def plain(bundle: ModelBundle) -> LocalModel:
    return load(bundle, PLAIN)


@pytest.mark.soak
@pytest.mark.parametrize(("runtime", "precision"), WAYS)
def test_scores_stay_within_two_hundredths_and_verdicts_as_they_are(
    bundle: ModelBundle, plain: LocalModel, pictures: np.ndarray, runtime: Any, precision: Any
) -> None:
    other = load(bundle, InferenceOptions(device="cpu", runtime=runtime, precision=precision))
    threshold = bundle.card.threshold
    wanted, given = plain.classify(pictures).scores, other.classify(pictures).scores
    moved = score_error(given, wanted, threshold, precision)
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


def _peaks(plain: LocalModel, other: LocalModel, flagged: np.ndarray) -> int:
    """The farthest that the warmest cell moves, in cells."""
    farthest = 0
    for picture in flagged:
        places = []
        for classifier in (plain, other):
            heat = classifier.explain(picture, classifier.classify(picture[None]).evidence[0]).heatmap
            places.append(np.array(np.unravel_index(int(heat.argmax()), heat.shape)))
        farthest = max(farthest, int(np.abs(places[0] - places[1]).max()))
    return farthest
