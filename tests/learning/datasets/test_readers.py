"""Reading datasets: each layout gives back what was written."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from monitor.errors import DataError
from monitor.learning.datasets import FolderLayout, load_image, load_mask, read_samples
from monitor.learning.datasets.reader import read_rejects
from monitor.simulate.surface import SurfaceGenerator


def test_the_competition_layout_gives_back_what_the_simulation_wrote(simulated: Path):
    line = SurfaceGenerator(seed=3, width=96, height=96, defect_rate=0.5, textures=4)
    samples = read_samples([simulated], ["Simulated"])
    assert [sample.split for sample in samples] == ["Train"] * 12 + ["Test"] * 8
    for number, sample in enumerate(samples):
        truth = line.defect_at(number)
        assert sample.defective == (truth is not None)
        assert np.array_equal(load_image(sample), line.picture(number))
        mask = load_mask(sample, 96, 96)
        assert mask is not None
        assert np.array_equal(mask, truth.mask(96, 96) if truth else np.zeros((96, 96), bool))


def test_a_split_can_be_asked_for(simulated: Path):
    assert len(read_samples([simulated], split="Test")) == 8


def test_the_development_layout_draws_the_ellipse_of_its_row(tmp_path: Path, write):
    write(tmp_path / "Class1" / "1.png", 1)
    write(tmp_path / "Class1_def" / "1.png", 2)
    (tmp_path / "Class1_def" / "labels.txt").write_text("1\t50.5\t20.25\t0.75\t101\t61\n")
    defective = read_samples([tmp_path], ["Class1"])[1]
    mask = load_mask(defective, 128, 256)
    assert mask is not None
    y, x = np.nonzero(mask)
    assert (x.mean(), y.mean()) == pytest.approx((100, 60), abs=0.2)
    along = (x - 100) * np.cos(0.75) + (y - 60) * np.sin(0.75)
    across = (y - 60) * np.cos(0.75) - (x - 100) * np.sin(0.75)
    assert along.max() == pytest.approx(50.5, abs=1)
    assert across.max() == pytest.approx(20.25, abs=1)


def test_real_class1_is_read_with_its_known_counts(dagm_root: Path):
    train = read_samples([dagm_root], ["Class1"], split="Train")
    test = read_samples([dagm_root], ["Class1"], split="Test")
    assert (len(train), sum(sample.defective for sample in train)) == (300, 37)
    assert (len(test), sum(sample.defective for sample in test)) == (100, 12)
    for sample in test:
        mask = load_mask(sample, 512, 512)
        assert mask is not None
        assert mask.any() == sample.defective


def test_folders_of_photographs_are_kinds_of_defect(folders: Path):
    samples = read_samples([folders])
    assert {(sample.category, sample.defective) for sample in samples} == {
        ("good", False),
        ("pit", True),
        ("scratch", True),
    }
    assert all(sample.surface == "part" and sample.mask is None for sample in samples)


@pytest.mark.parametrize("place", ["scratch/masks/1.png", "masks/scratch/1.png"])
def test_masks_beside_pictures_or_beside_folders_are_found(folders: Path, place: str):
    expected = np.zeros((12, 16), np.uint8)
    expected[3:7, 5:9] = 255
    (folders / place).parent.mkdir(parents=True)
    cv2.imwrite(str(folders / place), expected)
    samples = {sample.path.name: sample for sample in read_samples([folders]) if sample.category == "scratch"}
    assert len(samples) == 4
    mask = load_mask(samples["1.png"], 12, 16)
    assert mask is not None
    assert np.array_equal(mask, expected > 0)
    assert load_mask(samples["2.png"], 12, 16) is None


def test_masks_may_lie_beside_pictures_by_another_suffix(tmp_path: Path, write):
    for kind in ("MT_Free", "MT_Crack"):
        write(tmp_path / kind / "Imgs" / "a.jpg", 1 if kind == "MT_Free" else 2)
        write(tmp_path / kind / "Imgs" / "a.png", 3)
    samples = read_samples([tmp_path], layout=FolderLayout(good="MT_Free", mask_suffix=".png"))
    assert [(sample.path.name, sample.defective) for sample in samples] == [("a.jpg", True), ("a.jpg", False)]
    assert samples[0].mask == tmp_path / "MT_Crack" / "Imgs" / "a.png"


def test_several_roots_and_classes_come_together(simulated: Path, folders: Path):
    samples = read_samples([simulated, folders], ["Simulated", "part"], split="Train")
    assert {sample.surface for sample in samples} == {"Simulated", "part"}


def test_undivided_data_are_divided_the_same_way_each_time(folders: Path):
    test = read_samples([folders], split="Test", test_share=0.34)
    assert [sample.path for sample in test] == [
        sample.path for sample in read_samples([folders], split="Test", test_share=0.34)
    ]
    assert {sample.category for sample in test} == {"good", "scratch", "pit"}
    train = read_samples([folders], split="Train", test_share=0.34)
    assert not {sample.path for sample in test} & {sample.path for sample in train}
    assert len(test) + len(train) == 12


def refused(message: str, *arguments, **options) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_samples(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_a_wrong_root_is_one_sentence(tmp_path: Path, folders: Path):
    refused("does not exist", [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    refused("no class of surface in", [tmp_path / "empty"])
    refused("no class Class9 in .*: there are part", [folders.parent], ["Class9"])


def test_an_empty_class_and_one_without_defects_are_refused(folders: Path, tmp_path: Path):
    for path in (folders / "good").iterdir():
        path.unlink()
    refused("good holds no images", [folders])
    (tmp_path / "only" / "good").mkdir(parents=True)
    (folders / "pit" / "0.png").rename(tmp_path / "only" / "good" / "0.png")
    refused("only has no defective image", [tmp_path / "only"])


def test_undivided_data_have_no_test_part(folders: Path):
    refused("Test part is empty; --test-share", [folders], split="Test")


def test_a_row_without_its_picture_is_refused(competition: Path):
    (competition / "Train" / "0004.PNG").unlink()
    refused(re.escape("Labels.txt, row 5, names 0004.PNG, which is not in"), [competition.parent])


def test_a_picture_without_a_row_is_refused(competition: Path):
    table = competition / "Train" / "Label" / "Labels.txt"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    refused("has no row of 0012.PNG", [competition.parent])


def test_a_row_without_its_mask_is_refused(competition: Path):
    mask = next((competition / "Train" / "Label").glob("*_label.PNG"))
    mask.unlink()
    refused(f"names {mask.name}, which is not in", [competition.parent])


def test_a_row_of_nonsense_is_refused_with_its_place(competition: Path):
    table = competition / "Train" / "Label" / "Labels.txt"
    table.write_text(table.read_text().replace("0003\t", "0003 ", 1))
    refused("Labels.txt, row 4, is not a label", [competition.parent])


@pytest.mark.parametrize("row", ["1\t2\t3", "1\ta\tb\tc\td\te", "1\t0\t5\t0\t1\t1"])
def test_an_ellipse_of_nonsense_is_refused_with_its_place(tmp_path: Path, write, row: str):
    write(tmp_path / "Class2" / "1.png", 1)
    write(tmp_path / "Class2_def" / "1.png", 2)
    (tmp_path / "Class2_def" / "labels.txt").write_text(row + "\n")
    refused("labels.txt, row 1, is not a label", [tmp_path])


def test_two_classes_of_one_name_are_refused(simulated: Path, competition: Path):
    refused("two classes are named Simulated", [simulated, competition.parent])
    refused("named twice", [simulated], ["Simulated", "Simulated"])


def test_a_mask_of_another_size_is_refused(competition: Path):
    sample = next(sample for sample in read_samples([competition.parent]) if sample.defective)
    cv2.imwrite(str(sample.mask), np.zeros((50, 40), np.uint8))
    with pytest.raises(DataError, match=r"has 40x50 pixels, its image .* 96x96"):
        load_mask(sample, 96, 96)


def test_a_class_without_a_test_part_can_be_divided(competition: Path):
    given = read_samples([competition.parent], test_share=0.4)
    assert sum(sample.split == "Test" for sample in given) == 8  # its own Test part stays
    shutil.rmtree(competition / "Test")
    assert all(sample.split == "Train" for sample in read_samples([competition.parent]))
    divided = read_samples([competition.parent], test_share=0.4)
    assert {sample.split for sample in divided} == {"Train", "Test"}
    assert len(divided) == 12


def test_the_bit_depth_reaches_every_image(folders: Path, tmp_path: Path):
    deep = np.full((12, 16), 1023, np.uint16)
    assert cv2.imwrite(str(folders / "good" / "0.png"), deep)
    read = read_samples([folders])
    sample = next(sample for sample in read if sample.path == folders / "good" / "0.png")
    with pytest.raises(DataError, match=r"0\.png.*--bit-depth"):
        load_image(sample)
    for sample in read_samples([folders], bit_depth=10):
        image = load_image(sample)
        if sample.path == folders / "good" / "0.png":
            assert (image == 255).all()


def test_rejects_are_read_from_every_layout_and_need_no_good_image(folders: Path, simulated: Path):
    assert {(it.category, it.defective) for it in read_rejects(folders)} == {
        ("good", False),
        ("pit", True),
        ("scratch", True),
    }
    shutil.rmtree(folders / "good")
    assert [it.category for it in read_rejects(folders)] == ["pit"] * 2 + ["scratch"] * 4
    assert len(read_rejects(simulated)) == len(read_rejects(simulated / "Simulated")) == 20


def test_a_set_without_a_reject_is_refused(folders: Path):
    for kind in ("scratch", "pit"):
        shutil.rmtree(folders / kind)
    with pytest.raises(DataError, match="holds no known reject"):
        read_rejects(folders)
    (folders / "pit").mkdir()
    with pytest.raises(DataError, match="no images"):
        read_rejects(folders)
    with pytest.raises(DataError, match="cannot be read: Not a directory"):
        read_rejects(folders / "good" / "0.png")
