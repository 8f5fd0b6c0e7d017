"""Samples set aside by what they show."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import UsageError
from monitor.learning.datasets.fingerprint import group_keys, image_hash, position
from monitor.learning.datasets.reader import read_samples
from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.split import random_split, stratified_split


def kinds(good: int, pits: int, root: str = "/data") -> list[Sample]:
    return [Sample(Path(root) / f"good/{i}.png", "part", "good", False) for i in range(good)] + [
        Sample(Path(root) / f"pit/{i}.png", "part", "pit", True) for i in range(pits)
    ]


def keys_of(samples: list[Sample]) -> list[str]:
    return [f"{sample.category}{sample.path.name}" for sample in samples]


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.01, 0.99), st.integers(0, 9))
def test_each_kind_is_on_both_sides_and_no_sample_is_lost(good, pits, share, seed):
    samples = kinds(good, pits)
    kept, aside = stratified_split(samples, share, seed, keys_of(samples))
    assert set(kept) | set(aside) == set(samples)
    assert len(kept) + len(aside) == len(samples)
    for kind, count in (("good", good), ("pit", pits)):
        chosen = sum(sample.category == kind for sample in aside)
        assert count < 2 or 0 < chosen < count


@pytest.mark.parametrize("divide", [stratified_split, random_split])
def test_about_the_share_is_set_aside(divide):
    samples = kinds(4000, 1000)
    _, aside = divide(samples, 0.2, 3, keys_of(samples))
    # Five standard deviations of a binomial distribution.
    assert abs(len(aside) - 1000) < 5 * (5000 * 0.2 * 0.8) ** 0.5
    assert abs(sum(sample.defective for sample in aside) - 200) < 5 * (1000 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize("divide", [stratified_split, random_split])
@given(st.integers(20, 60), st.integers(20, 40), st.integers(1, 30))
def test_more_data_move_no_sample_to_the_other_side(divide, good, pits, more):
    before = kinds(good, pits)
    after = kinds(good + more, pits)
    _, aside = divide(before, 0.3, 0, keys_of(before))
    _, later = divide(after, 0.3, 0, keys_of(after))
    assert set(aside) == set(later) & set(before)


@given(st.permutations(kinds(12, 6)))
def test_the_order_and_the_place_of_files_do_not_matter(samples):
    moved = kinds(12, 6, "/elsewhere")
    _, aside = stratified_split(samples, 0.3, 5, keys_of(samples))
    _, other = stratified_split(moved, 0.3, 5, keys_of(moved))
    assert {(s.category, s.path.name) for s in aside} == {(s.category, s.path.name) for s in other}


def test_another_seed_sets_others_aside():
    samples = kinds(50, 20)
    keys = keys_of(samples)
    assert stratified_split(samples, 0.2, 1, keys) != stratified_split(samples, 0.2, 2, keys)


@given(st.integers(2, 40), st.integers(1, 6))
def test_images_of_one_part_stay_together(parts, views):
    samples = [
        Sample(Path(f"/data/{kind}/part{part}_view{view}.png"), "part", kind, kind == "pit")
        for kind in ("good", "pit")
        for part in range(parts)
        for view in range(views)
    ]
    keys = group_keys(samples, [str(sample.path) for sample in samples], r"part(\d+)_")
    kept, aside = stratified_split(samples, 0.3, 0, keys)

    def part_of(sample: Sample) -> str:
        return sample.path.name.split("_")[0]

    assert not {part_of(sample) for sample in kept} & {part_of(sample) for sample in aside}


def test_a_group_that_is_no_regular_expression_is_refused():
    with pytest.raises(UsageError, match="--group"):
        group_keys(kinds(1, 0), ["x"], "(")


def test_a_hash_is_of_the_pixels_whatever_the_name_or_the_encoding(tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    for name in ("a.png", "b.bmp"):
        cv2.imwrite(str(tmp_path / name), image)
    hashes = {image_hash(cv2.imread(str(tmp_path / name))) for name in ("a.png", "b.bmp")}
    assert hashes == {image_hash(image)}
    assert image_hash(image) != image_hash(image.reshape(30, 20, 3))


@given(st.text(), st.integers(0, 5))
def test_positions_lie_between_zero_and_one(key, seed):
    assert 0 <= position(key, seed) < 1


def test_a_test_part_keeps_its_images_when_one_is_added(tmp_path):
    random = np.random.default_rng(2)

    def write(kind: str, number: int) -> None:
        path = tmp_path / "part" / kind / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), random.integers(0, 256, (16, 16, 3), np.uint8))

    for number in range(40):
        write("good", number)
        write("pit", number)
    before = {sample.path for sample in read_samples([tmp_path], test_share=0.3) if sample.split == "Test"}
    write("good", 40)
    after = {sample.path for sample in read_samples([tmp_path], test_share=0.3) if sample.split == "Test"}
    assert before <= after <= before | {tmp_path / "part/good/040.png"}
