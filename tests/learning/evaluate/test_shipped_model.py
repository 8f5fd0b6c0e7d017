"""What the shipped model promises of pictures that it was never trained on."""

import pytest

from monitor.learning.datasets import read_samples
from monitor.learning.evaluate.evaluator import evaluate
from monitor.learning.evaluate.model_under_test import load_model_under_test
from monitor.models.bundle import load_bundle


@pytest.fixture(scope="module")
def found(dagm_root, shipped_bundle):
    if not (shipped_bundle / "card.json").is_file():
        pytest.skip(f"no model ships yet: {shipped_bundle} is missing")
    samples = read_samples([dagm_root], ["Class1"], split="Test")
    return evaluate(load_model_under_test(load_bundle(shipped_bundle), device="cpu"), samples, repeats=100)


def test_no_defect_is_missed_and_no_good_part_is_flagged(found):
    figures = found.as_recorded.classification
    assert (figures.misses, figures.false_alarms) == (0, 0)
    assert figures.auc.value == 1
    assert figures.lowest_defect > 0.9
    assert figures.highest_good < 0.4  # one image; monitor/learning/README.md names it


def test_every_defect_is_found_at_its_place(found):
    places = found.as_recorded.localisation
    assert places.pointing.value == 1
    assert places.found_at_03.value == 1
    assert places.found_at_05.value == 1


def test_known_surfaces_are_not_called_unfamiliar(found):
    assert found.as_recorded.familiarity.unfamiliar <= 0.05 * found.as_recorded.familiarity.pictures
