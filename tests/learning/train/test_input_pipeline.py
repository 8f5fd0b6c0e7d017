"""Batches for training: repeatable, in order, nothing left out."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.learning.datasets import read_samples
from monitor.learning.train.input_pipeline import InputPipeline, cell_targets, load_sample, shrink_mask


def batches(dataset) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return [tuple(part.numpy() for part in batch) for batch in dataset]


def same(first, second) -> bool:
    return all(
        np.array_equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.fixture(scope="module")
def stream(surfaces: Path) -> InputPipeline:
    return InputPipeline(read_samples([surfaces], split="Train"), (32, 48), batch=4, seed=5)


def test_shapes_are_the_networks(stream: InputPipeline):
    pictures, labels, targets = batches(stream.judging(degraded=False))[0]
    assert (pictures.shape, pictures.dtype) == ((4, 32, 48, 3), np.uint8)
    assert (labels.shape, targets.shape) == ((4,), (4, 4, 6))


def test_judging_keeps_the_order_and_leaves_nothing_out(stream: InputPipeline):
    labels = np.concatenate([labels for _, labels, _ in batches(stream.judging(degraded=True))])
    assert labels.tolist() == [int(sample.defective) for sample in stream.samples]


def test_an_epoch_repeats_itself_and_no_other(stream: InputPipeline):
    first, again, other = (batches(stream.training(epoch, augmented=True)) for epoch in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_spoiled_pictures_are_the_same_each_time(stream: InputPipeline):
    first, again = (batches(stream.judging(degraded=True)) for _ in range(2))
    assert same(first, again)
    assert not same(first, batches(stream.judging(degraded=False)))
    third = batches(stream.judging(degraded=True, view=2))
    assert same(third, batches(stream.judging(degraded=True, view=2)))
    assert not same(third, first)


def test_without_augmentation_an_epoch_shows_the_pictures_as_they_are(stream: InputPipeline):
    plain = {
        picture.tobytes()
        for pictures, _, _ in batches(stream.judging(degraded=False))
        for picture in pictures
    }
    shown = [
        picture.tobytes()
        for pictures, _, _ in batches(stream.training(0, augmented=False))
        for picture in pictures
    ]
    assert len(shown) == len(stream.samples) // 4 * 4
    assert set(shown) <= plain


@given(st.integers(0, 15), st.integers(0, 15))
def test_a_cell_is_asked_about_the_pixel_it_looks_at(row, column):
    mask = np.zeros((128, 128), bool)
    mask[8 * row, 8 * column] = True
    target = cell_targets(mask, (128, 128))
    assert target[row, column] == 1
    assert target.sum() == 1


def test_no_mask_asks_nothing():
    assert (cell_targets(None, (64, 32)) == np.full((8, 4), -1)).all()


def test_a_large_picture_and_its_mask_shrink_together(tmp_path: Path):
    for folder in ("good", "pit", "pit/masks"):
        (tmp_path / "part" / folder).mkdir(parents=True)
    image = np.zeros((600, 800), np.uint8)
    image[150:450, 200:600] = 255
    cv2.imwrite(str(tmp_path / "part/good/0.png"), image)
    cv2.imwrite(str(tmp_path / "part/pit/1.png"), image)
    cv2.imwrite(str(tmp_path / "part/pit/masks/1.png"), image)
    defect = next(sample for sample in read_samples([tmp_path]) if sample.defective)
    picture, label, target = load_sample(defect, (48, 64), None)
    assert label == 1
    assert target == pytest.approx(picture[::8, ::8, 0] / 255, abs=0.2)
    assert target.max() == 1


def test_veiled_pictures_are_labelled_by_what_they_show(
    stream: InputPipeline, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("monitor.learning.train.input_pipeline.CUTOUT_FRACTION", 1.0)
    defects = [sample for sample in stream.samples if sample.defective]
    labels = []
    for seed in range(40):
        _, label, target = load_sample(
            defects[seed % len(defects)], (96, 96), np.random.default_rng(seed), veiled=True
        )
        labels.append(int(label))
        assert (target.max() > 0) == bool(label)
    assert 10 < sum(labels) < 30


def test_judging_never_veils(stream: InputPipeline, monkeypatch: pytest.MonkeyPatch):
    before = batches(stream.judging(degraded=True))
    monkeypatch.setattr("monitor.learning.train.input_pipeline.CUTOUT_FRACTION", 1.0)
    assert same(before, batches(stream.judging(degraded=True)))
    assert not same(before[:1], batches(stream.training(0, augmented=True))[:1])


@given(st.data())
def test_no_defect_is_lost_however_small_or_thin(data: st.DataObject):
    height, width = data.draw(st.sampled_from([(64, 64), (96, 64), (500, 400), (1000, 700)]))
    mask = np.zeros((height, width), np.uint8)
    start, end = (
        (data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))) for _ in range(2)
    )
    cv2.line(mask, start, end, 1, data.draw(st.sampled_from([1, 2, 5])))
    marked = mask > 0
    target = cell_targets(shrink_mask(marked, (min(height, 96), min(width, 96))), (64, 64))
    assert target.max() == 1
    # Every marked pixel lies in a marked cell or beside one.
    rows, columns = np.nonzero(marked)
    near = cv2.dilate((target > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    cell_rows = np.minimum((rows * 64 / height + 4) // 8, 7).astype(int)
    cell_columns = np.minimum((columns * 64 / width + 4) // 8, 7).astype(int)
    assert near[cell_rows, cell_columns].all()


@given(st.integers(20, 44), st.integers(20, 44), st.integers(8, 18), st.integers(8, 18))
def test_a_large_defect_keeps_its_outline(row: int, column: int, tall: int, wide: int):
    mask = np.zeros((64, 64), np.uint8)
    cv2.ellipse(mask, (column, row), (wide, tall), 0, 0, 360, 1, -1)
    assert np.array_equal(cell_targets(mask > 0, (64, 64)), mask[::8, ::8].astype(np.float32))


def test_a_defect_whose_mask_is_empty_is_never_taught_as_good(tmp_path: Path):
    for folder in ("good", "pit", "pit/masks"):
        (tmp_path / "part" / folder).mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    cv2.imwrite(str(tmp_path / "part/good/0.png"), image)
    cv2.imwrite(str(tmp_path / "part/pit/1.png"), image[::-1])
    cv2.imwrite(str(tmp_path / "part/pit/masks/1.png"), np.zeros((64, 64), np.uint8))
    defect = next(sample for sample in read_samples([tmp_path / "part"]) if sample.defective)
    for seed in range(40):
        _, label, target = load_sample(defect, (64, 64), np.random.default_rng(seed), veiled=True)
        assert label == 1
        assert (target == -1).all()
