"""A data set on disk: the competition's own layout, true to the line it came from."""

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from monitor.errors import DataError, UsageError
from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_dataset

ROW = re.compile(r"(\d{4})\t(?:0\t\1\.PNG\t0\t0\t|1\t\1\.PNG\t0\t\1_label\.PNG)")


def table(split: Path) -> list[str]:
    return (split / "Label" / "Labels.txt").read_text(encoding="ascii").split("\n")


@pytest.mark.parametrize(("split", "first", "count"), [("Train", 0, 14), ("Test", 14, 6)])
def test_files_and_labels_hold_what_the_line_shows(
    tmp_path: Path, small_line: SurfaceGenerator, split: str, first: int, count: int
) -> None:
    defective = write_dataset(small_line, tmp_path, train=14, test=6)
    assert defective == sum(small_line.defect_at(number) is not None for number in range(20))
    folder = tmp_path / "Simulated" / split
    assert len(list(folder.glob("*.PNG"))) == count
    for index, row in enumerate(table(folder)[1:-1]):
        _, flag, picture, _, label = row.split("\t")[:5]
        grey = cv2.imread(str(folder / picture), cv2.IMREAD_UNCHANGED)
        assert (grey == small_line.picture(first + index)[:, :, 0]).all()
        truth = small_line.defect_at(first + index)
        assert (flag == "1") == (truth is not None)
        if truth is not None:
            mask = cv2.imread(str(folder / "Label" / label), cv2.IMREAD_UNCHANGED)
            assert mask.dtype == np.uint8
            assert (mask == 255 * truth.mask(96, 128)).all()


def test_the_table_of_labels_has_the_form_of_the_real_one(
    tmp_path: Path, small_line: SurfaceGenerator, dagm_root: Path
) -> None:
    write_dataset(small_line, tmp_path, train=20, test=0)
    for split in (dagm_root / "Class1" / "Train", tmp_path / "Simulated" / "Train"):
        first, *rows, last = table(split)
        assert (first, last) == ("1", "")
        assert all(ROW.fullmatch(row) for row in rows)


def test_a_folder_with_something_in_it_is_left_alone_until_told_otherwise(
    tmp_path: Path, small_line: SurfaceGenerator
) -> None:
    write_dataset(small_line, tmp_path, train=3, test=0)
    neighbour = tmp_path / "Class1" / "notes.txt"
    neighbour.parent.mkdir()
    neighbour.write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_dataset(small_line, tmp_path, train=2, test=0)
    write_dataset(small_line, tmp_path, train=2, test=0, replace=True)
    assert sorted(path.name for path in (tmp_path / "Simulated" / "Train").glob("*.PNG")) == [
        "0001.PNG",
        "0002.PNG",
    ]
    assert neighbour.read_text() == "mine"


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path, small_line: SurfaceGenerator) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "notes.txt").write_text("mine")
    (tmp_path / "Simulated").symlink_to(elsewhere)
    write_dataset(small_line, tmp_path, train=1, test=0, replace=True)
    assert (tmp_path / "Simulated" / "Train" / "0001.PNG").is_file()
    assert [path.name for path in elsewhere.iterdir()] == ["notes.txt"]


def test_an_interrupted_run_leaves_no_table_of_labels(tmp_path: Path, small_line: SurfaceGenerator) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(small_line, tmp_path, train=3, test=0, on_written=interrupt)
    assert not list(tmp_path.rglob("Labels.txt"))


def test_a_disk_that_refuses_is_said_with_the_folder_and_the_cause(
    tmp_path: Path, small_line: SurfaceGenerator
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Simulated cannot be written: Not a directory") as caught:
        write_dataset(small_line, tmp_path / "file", train=1, test=0)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_said_in_a_sentence(tmp_path: Path, small_line: SurfaceGenerator) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="Permission denied"):
        write_dataset(small_line, tmp_path, train=1, test=0)


@pytest.mark.parametrize(("train", "test"), [(0, 0), (-1, 5)])
def test_a_data_set_without_pictures_is_refused(
    tmp_path: Path, small_line: SurfaceGenerator, train: int, test: int
) -> None:
    with pytest.raises(UsageError, match="needs images"):
        write_dataset(small_line, tmp_path, train=train, test=test)
