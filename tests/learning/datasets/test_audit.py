"""The audit: what cannot be used is named before training."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from monitor.errors import DataError
from monitor.learning.datasets import audit, read_samples


def test_sound_data_are_counted_and_accepted(simulated: Path):
    samples = read_samples([simulated])
    ticks = []
    found = audit(samples, lambda: ticks.append(1))
    assert len(ticks) == found.total == sum(found.counts.values()) == 20
    assert found.sizes == {(96, 96): 20}
    assert found.defective == sum(sample.defective for sample in samples)
    assert found.good_per_defect == pytest.approx((20 - found.defective) / found.defective)
    assert not found.duplicates_to_skip
    found.raise_if_unusable()


def test_a_truncated_picture_is_named(folders: Path):
    broken = folders / "good" / "0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    found = audit(read_samples([folders]))
    assert len(found.unreadable) == 1
    with pytest.raises(DataError, match=str(broken)):
        found.raise_if_unusable()


def test_a_mask_of_another_size_is_named(competition: Path):
    sample = next(sample for sample in read_samples([competition.parent]) if sample.defective)
    cv2.imwrite(str(sample.mask), np.zeros((50, 40), np.uint8))
    with pytest.raises(DataError, match="40x50"):
        audit(read_samples([competition.parent])).raise_if_unusable()


def test_a_picture_that_is_also_in_test_is_left_out_of_training(competition: Path):
    good = [sample for sample in read_samples([competition.parent]) if not sample.defective]
    train = next(sample for sample in good if sample.split == "Train")
    test = next(sample for sample in good if sample.split == "Test")
    # The same pixels in other bytes.
    cv2.imwrite(str(test.path), cv2.imread(str(train.path), 0), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    assert test.path.read_bytes() != train.path.read_bytes()
    found = audit(read_samples([competition.parent]))
    assert found.duplicates_to_skip == {train.path}
    assert any("in both Train and Test" in line for line in found.lines())


def test_of_a_picture_twice_in_training_one_is_kept(folders: Path):
    shutil.copy(folders / "good" / "0.png", folders / "good" / "copy.png")
    assert audit(read_samples([folders])).duplicates_to_skip == {folders / "good" / "copy.png"}


def test_one_picture_with_two_labels_is_refused(folders: Path):
    shutil.copy(folders / "good" / "0.png", folders / "pit" / "0.png")
    with pytest.raises(DataError, match="labelled both good and defective"):
        audit(read_samples([folders])).raise_if_unusable()
