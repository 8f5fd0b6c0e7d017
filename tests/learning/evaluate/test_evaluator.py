"""The evaluation: counts and places are those of the images that were made."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest

from monitor.errors import DataError, ModelError
from monitor.learning.datasets import Sample, load_image
from monitor.learning.datasets.fingerprint import image_hashes
from monitor.learning.datasets.tiling import Tiling
from monitor.learning.evaluate.corruptions import CORRUPTIONS, Corruption
from monitor.learning.evaluate.evaluator import as_document, evaluate, explain_image, score_images
from monitor.learning.evaluate.localisation import MISSED
from monitor.learning.evaluate.tables import tables
from monitor.models.novelty import NoveltyScore


def test_counts_and_places_are_those_that_were_made(network, samples):
    found = evaluate(network, samples, repeats=20)
    figures, places = found.as_recorded.classification, found.as_recorded.localisation
    assert (figures.good, figures.defects, figures.misses, figures.false_alarms) == (9, 5, 1, 1)
    # The dark defect scores below the bright good part and above the other eight.
    assert figures.auc.value == pytest.approx((4 * 9 + 8) / 45)
    assert (places.defects, places.with_region) == (5, 4)
    assert places.pointing.value == places.found_at_05.value == pytest.approx(4 / 5)
    assert places.centre_distance.value < 2
    assert [one.sample for one in found.results] == samples


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_the_batch_size_does_not_change_the_answers(network, samples, batch):
    assert list(score_images(dataclasses.replace(network, batch=batch), samples)) == list(
        score_images(network, samples)
    )


def test_a_missed_defect_counts_as_not_found_and_a_good_part_has_no_place(network, samples):
    judged = list(score_images(network, samples))
    assert [one.localisation for one in judged if one.score < 0.6 and one.sample.defective] == [MISSED]
    assert all(one.localisation is None for one in judged if not one.sample.defective)


def test_defects_without_masks_have_scores_and_no_places(network, samples):
    bare = [dataclasses.replace(sample, mask=None) for sample in samples]
    found = evaluate(network, bare, repeats=5)
    assert found.as_recorded.localisation is None
    assert found.as_recorded.classification.defects == 5


def test_each_corruption_is_a_row_of_its_own_and_moves_the_masks_too(network, samples):
    def mirrored(image, mask):
        return np.ascontiguousarray(image[:, ::-1]), None if mask is None else mask[:, ::-1]

    def darkened(image, mask):
        return image // 2, mask

    seen = Counter()
    found = evaluate(
        network,
        samples,
        corruptions=[Corruption("mirrored", mirrored), Corruption("darkened", darkened)],
        repeats=5,
        advance=lambda state: seen.update([state]),
    )
    as_recorded, (mirror, dark) = found.as_recorded, found.degraded
    assert mirror.localisation.found_at_05 == as_recorded.localisation.found_at_05
    assert mirror.localisation.median_overlap.value == pytest.approx(
        as_recorded.localisation.median_overlap.value, abs=0.02
    )
    assert dark.classification.misses == 5
    assert dark.localisation.pointing.value == 0
    assert seen == {"as recorded": 14, "mirrored": 14, "darkened": 14}


def test_every_corruption_of_the_table_can_be_judged(network, samples):
    found = evaluate(network, samples[7:11], corruptions=CORRUPTIONS, repeats=5)
    assert [one.name for one in found.degraded] == [one.name for one in CORRUPTIONS]
    assert all(one.classification.good == 2 for one in found.degraded)


def test_other_surfaces_are_counted_and_no_sure_answer_hides_among_them(network, samples, tmp_path):
    import cv2

    bright, known = tmp_path / "bright.png", tmp_path / "known.png"
    cv2.imwrite(str(bright), np.full((64, 64), 250, np.uint8))
    cv2.imwrite(str(known), np.pad(np.full((4, 4), 250, np.uint8), 30, constant_values=90))
    others = [Sample(path, "x", "other", defective=False) for path in (bright, known)]
    found = evaluate(network, samples, others=others, repeats=5)
    assert (found.others.pictures, found.others.flagged) == (2, 2)
    assert (found.others.unfamiliar, found.others.sure_and_unmarked) == (1, 1)
    assert found.as_recorded.familiarity.pictures == 14
    assert found.as_recorded.familiarity.unfamiliar == sum(one.distance > 1 for one in found.results) < 14
    far = [NoveltyScore(1e9, 1.0)]
    lost = dataclasses.replace(
        network, classify=lambda images: network.classify(images)._replace(novelty=far * len(images))
    )
    assert evaluate(lost, samples, repeats=5).as_recorded.familiarity.unfamiliar == 14


def test_a_bundle_that_does_not_know_what_is_familiar_says_nothing_of_it(network, samples):
    def unknowing(images):
        return network.classify(images)._replace(novelty=[None] * len(images))

    found = evaluate(dataclasses.replace(network, classify=unknowing, limit=None), samples, repeats=5)
    assert found.as_recorded.familiarity is None
    assert all(one.distance is None for one in found.results)


def test_the_document_is_json_without_numbers_that_are_none(network, samples):
    good = [sample for sample in samples if not sample.defective]
    document = as_document(evaluate(network, good, repeats=5), network)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["as_recorded"]["classification"]["auc"] == {"value": None, "low": None, "high": None}
    assert len(document["pictures"]) == 9
    assert document["model"]["threshold"] == 0.6


def test_a_look_shows_the_picture_with_heat_of_its_own_size(network, samples):
    seen = explain_image(network, samples[-2])
    assert np.array_equal(seen.image, load_image(samples[-2]))
    assert seen.heat.shape == seen.mask.shape == (160, 200)
    assert seen.regions


def test_a_picture_that_cannot_be_read_is_one_sentence(network, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG nothing")
    with pytest.raises(DataError, match=r"broken\.png"):
        evaluate(network, [Sample(path, "x", "good", defective=False)])


def test_a_model_that_answers_with_no_number_is_refused(network, samples):
    def lost(pictures):
        answer = network.classify(pictures)
        answer.scores[0] = np.nan
        return answer

    with pytest.raises(ModelError, match="not numbers"):
        evaluate(dataclasses.replace(network, classify=lost), samples)


def test_a_frame_in_tiles_has_the_score_of_its_worst_tile_and_its_defects_keep_their_places(network, samples):
    tiled = dataclasses.replace(network, tiling=Tiling(tiles=(2, 2), overlap=0.2))
    whole, cut = evaluate(network, samples, repeats=5), evaluate(tiled, samples, repeats=5)
    for one, other in zip(whole.results, cut.results, strict=True):
        image = load_image(one.sample)
        tiles = [image[box.top : box.bottom, box.left : box.right] for box in tiled.tiling.boxes(200, 160)]
        assert other.score == pytest.approx(
            max(network.classify(network.fit(tile)[None]).scores[0] for tile in tiles)
        )
    assert cut.as_recorded.classification.defects == 5
    assert cut.as_recorded.localisation.pointing.value >= whole.as_recorded.localisation.pointing.value


def test_only_the_region_of_interest_is_scored(network, samples):
    # Every disc lies between 22 and 138 pixels from the left.
    right = dataclasses.replace(network, tiling=Tiling(roi=(140, 0, 60, 160)))
    found = evaluate(right, samples, repeats=5)
    assert found.as_recorded.classification.misses == 5
    assert found.as_recorded.classification.false_alarms == 0


def test_images_that_the_model_was_made_from_are_marked(network, samples):
    hashes = image_hashes(samples)
    known = dataclasses.replace(
        network, trained_on=frozenset(hashes[:3]), validated_on=frozenset(hashes[3:5])
    )
    found = evaluate(known, samples, repeats=5, corruptions=CORRUPTIONS[:1])
    assert [one.used for one in found.results] == ["train"] * 3 + ["validation"] * 2 + [None] * 9
    assert [one["used"] for one in as_document(found, known)["pictures"]][:6] == [
        *["train"] * 3,
        *["validation"] * 2,
        None,
    ]
    assert all(one.used is None for one in evaluate(network, samples, repeats=5).results)


def test_a_model_that_names_kinds_gets_a_confusion_matrix(network, samples):
    def classify(inputs):
        answer = network.classify(inputs)
        kinds = ["spot" if score > 0.9 else "scratch" if score >= 0.6 else None for score in answer.scores]
        return answer._replace(kinds=kinds)

    found = evaluate(dataclasses.replace(network, classify=classify), samples, repeats=20)
    matrix = next(table for table in tables(found) if table.title == "Kinds of defects")
    assert matrix.header == ("folder", "not flagged", "scratch", "spot")
    assert matrix.rows == (("good", "8", "1", "0"), ("spot", "1", "0", "4"))
    assert matrix.note == "4 of 4 flagged defects are named after their folder."
    kinds = Counter(one["kind"] for one in as_document(found, network)["pictures"])
    assert kinds == {None: 9, "scratch": 1, "spot": 4}
    plain = tables(evaluate(network, samples, repeats=20))
    assert all(table.title != "Kinds of defects" for table in plain)
