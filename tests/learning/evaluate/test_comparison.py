"""What changes between two models, and what the images prove."""

import json
from dataclasses import replace

import pytest

from monitor.errors import DataError
from monitor.learning.datasets.fingerprint import image_hashes
from monitor.learning.evaluate.comparison import PairedCounts, as_document, compare, recommend
from monitor.learning.evaluate.comparison_report import comparison_report, comparison_tables
from monitor.learning.evaluate.evaluator import explain_image
from monitor.learning.evaluate.html_report import ReportHeader
from monitor.learning.evaluate.paired_tests import clopper_pearson, images_needed, mcnemar


@pytest.fixture(scope="module")
def stricter(network):
    """The same network with a threshold that finds the dark defect and flags every good part."""
    return replace(network, name="stricter", threshold=0.35, sha256="1" * 64)


@pytest.fixture(scope="module")
def found(network, stricter, samples):
    return compare(network, stricter, samples)


def counts(mistake: str, images: int, gains: int, losses: int, *, surface: str | None = None):
    return PairedCounts(
        mistake, surface, images, gains, losses, gains, losses, mcnemar(gains, losses),
        clopper_pearson(gains, images), clopper_pearson(losses, images), images_needed(gains, losses, images),
    )  # fmt: skip


def test_mistakes_are_counted_at_each_models_own_threshold(found):
    misses, alarms = found.counts
    assert (misses.images, misses.old, misses.new, misses.gains, misses.losses) == (5, 1, 0, 1, 0)
    assert (alarms.images, alarms.old, alarms.losses, alarms.gains) == (9, 1, alarms.new - 1, 0)
    assert alarms.losses >= 6
    assert found.recommendation.decision == "keep"
    assert "false alarms: 1 before" in found.recommendation.reasons[0]
    assert found.old.boxes.defects == found.new.boxes.defects == 5
    assert found.new.unfamiliar == found.old.unfamiliar


def test_changed_verdicts_come_with_new_mistakes_first(found):
    rights = [one.new_right for one in found.changed]
    assert rights == sorted(rights)
    assert len(rights) == sum(one.gains + one.losses for one in found.counts)


def test_json_has_every_image_and_no_infinity(found):
    document = json.loads(json.dumps(as_document(found), allow_nan=False))
    assert document["recommendation"]["decision"] == "keep"
    assert len(document["pictures"]) == 14
    assert document["speed_ratio"] > 0


def test_the_report_is_one_file_with_both_evidences_of_each_change(found, network, stricter):
    header = ReportHeader("x", "plate <all>", "defect-monitor compare", "2026-11-30")
    text = comparison_report(
        found, header, lambda one: (explain_image(network, one.sample), explain_image(stricter, one.sample))
    )
    assert text.count("<figure") == len(found.changed)
    assert text.count("data:image/jpeg") == 3 * len(found.changed)
    assert "Keep the old model." in text
    assert "plate &lt;all&gt;" in text
    assert 'src="http' not in text
    assert len(comparison_tables(found)) == 2


def test_images_that_a_model_was_made_from_are_left_out(network, stricter, samples):
    hashes = image_hashes(samples)
    taught = replace(stricter, trained_on=frozenset(hashes[:6]))
    assert compare(network, taught, samples).left_out == 6
    with pytest.raises(DataError, match="were made from all of these images"):
        compare(network, replace(stricter, trained_on=frozenset(hashes)), samples)


@pytest.mark.parametrize(
    ("misses", "alarms", "decision", "words"),
    [
        ((20, 9, 0), (40, 1, 0), "promote", "9 better"),
        ((20, 0, 9), (40, 20, 0), "keep", "9 worse"),
        ((8, 2, 0), (40, 1, 1), "undecided", "do not suffice; about 16 more labelled defects"),
        ((8, 0, 0), (10, 0, 0), "undecided", "about 51 more labelled defects would decide"),
        ((100, 0, 0), (400, 0, 0), "promote", "no worse"),
        ((20, 9, 0), (40, 0, 2), "undecided", "2 worse"),
        ((0, 0, 0), (0, 0, 0), "undecided", "do not suffice"),
    ],
)
def test_the_recommendation_rests_on_what_is_proven(misses, alarms, decision, words):
    found = recommend((counts("miss", *misses), counts("false alarm", *alarms)), ())
    assert found.decision == decision
    assert any(words in reason for reason in found.reasons)


def test_a_loss_on_one_surface_speaks_against_a_gain_on_all():
    whole = (counts("miss", 60, 20, 8), counts("false alarm", 100, 0, 0))
    old_surface = counts("miss", 20, 0, 8, surface="Class1")
    found = recommend(whole, (old_surface,))
    assert found.decision == "keep"
    assert "on Class1" in found.reasons[0]
