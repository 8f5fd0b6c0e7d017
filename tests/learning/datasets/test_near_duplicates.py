"""Photographs saved again are recognised; other photographs of the same surface are not."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.learning.datasets import audit, read_samples
from monitor.learning.datasets.near_duplicates import MAX_GROUP, near_duplicates, thumbnail
from monitor.learning.evaluate.corruptions import blur, brightness, jpeg, noise
from monitor.records import Image


def surface(number: int) -> Image:
    """A surface with structure of about 12 pixels, which no other number gives."""
    random = np.random.default_rng(number)
    structure = cv2.GaussianBlur(random.normal(0, 1, (192, 256)), (0, 0), 6)
    grey = 120 + 30 * structure / structure.std() + random.normal(0, 4, structure.shape)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: jpeg(image, 50),
        lambda image: noise(image, 8),
        lambda image: blur(image, 0.004),
        lambda image: brightness(image, 1.15),
        lambda image: cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA),
    ],
)
def test_a_changed_copy_is_found_among_other_images_of_the_surface(change: Callable[[Image], Image]):
    images = [surface(number) for number in range(8)]
    shown = [*images, change(images[3])]
    assert near_duplicates([thumbnail(image) for image in shown]) == [[3, 8]]


def test_images_that_are_all_alike_are_no_duplicates():
    first = surface(0)
    shown = [noise(first, sigma / 4) for sigma in range(MAX_GROUP + 1)]
    assert near_duplicates([thumbnail(image) for image in shown]) == []
    assert len(near_duplicates([thumbnail(image) for image in shown[:-1]])[0]) == MAX_GROUP


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_groups_are_those_of_equal_thumbnails(kinds: list[int]):
    axes = np.eye(6, 1024, dtype=np.float32)
    expected = [[index for index, kind in enumerate(kinds) if kind == one] for one in dict.fromkeys(kinds)]
    assert near_duplicates([axes[kind] for kind in kinds]) == [group for group in expected if len(group) > 1]


def test_no_images_and_blank_images_have_no_duplicates():
    assert near_duplicates([]) == []
    blank = thumbnail(np.full((20, 30, 3), 90, np.uint8))
    assert near_duplicates([blank, blank]) == []


def test_near_duplicates_are_reported_and_stay_on_one_side(tmp_path: Path):
    for kind, numbers in (("good", range(24)), ("crack", range(24, 40))):
        (tmp_path / "part" / kind).mkdir(parents=True)
        for number in numbers:
            image = surface(number)
            assert cv2.imwrite(str(tmp_path / "part" / kind / f"{number}.png"), image)
            assert cv2.imwrite(str(tmp_path / "part" / kind / f"{number}_again.jpg"), image)
    samples = read_samples([tmp_path], test_share=0.4)
    sides: dict[str, set[str | None]] = {}
    for sample in samples:
        sides.setdefault(sample.path.stem.removesuffix("_again"), set()).add(sample.split)
    assert len(sides) == 40
    assert all(len(splits) == 1 for splits in sides.values())
    assert {split for splits in sides.values() for split in splits} == {"Train", "Test"}
    assert "80 images nearly repeat another" in "\n".join(audit(samples).lines())


def test_a_near_duplicate_with_another_label_is_named(tmp_path: Path):
    for kind, number in (("good", 1), ("good", 2), ("crack", 3)):
        (tmp_path / "part" / kind).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "part" / kind / f"{number}.png"), surface(number))
    assert cv2.imwrite(str(tmp_path / "part/crack/1.jpg"), surface(1))
    lines = "\n".join(audit(read_samples([tmp_path])).lines())
    assert "1 of these groups are labelled both good and defective" in lines
