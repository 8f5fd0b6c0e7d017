"""Kinds of defects by their features."""

import numpy as np
import pytest

from monitor.errors import ModelError
from monitor.models.kinds import GOOD, KindClassifier, fit_kind_classifier


def features_of(kinds: list[str], seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    features = random.gamma(2, 1, (len(kinds), 12)).astype(np.float32)
    for row, kind in enumerate(kinds):
        if kind != GOOD:
            features[row, ["crack", "pit", "fray"].index(kind)] += 30
    return features


KINDS = [GOOD, "crack", "pit", GOOD, "fray", GOOD] * 12


def test_kinds_are_named_and_good_is_none_of_them():
    classifier = fit_kind_classifier(features_of(KINDS, 0), KINDS)
    assert classifier.names == ("crack", "fray", "pit")
    defects = [kind for kind in KINDS if kind != GOOD]
    assert classifier.classify(features_of(defects, 1)) == defects
    assert classifier.classify(np.empty((0, 12), np.float32)) == []


def test_a_classifier_survives_its_file():
    classifier = fit_kind_classifier(
        features_of(KINDS, 0), [kind.replace("pit", "lunker ü") for kind in KINDS]
    )
    read = KindClassifier.from_bytes(classifier.to_bytes())
    assert read.names == ("crack", "fray", "lunker ü")
    features = features_of(KINDS, 2)
    assert read.classify(features) == classifier.classify(features)


@pytest.mark.parametrize("cut", [0, 10, -20])
def test_a_damaged_file_is_one_sentence(cut: int):
    content = fit_kind_classifier(features_of(KINDS, 0), KINDS).to_bytes()
    with pytest.raises(ModelError, match="file of kinds cannot be read"):
        KindClassifier.from_bytes(content[:cut])
