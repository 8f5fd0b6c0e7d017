"""Frames of an archive and what is known of them, by names and tables alone."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from monitor.cluster.archive_frames import label_paths, list_archive
from monitor.errors import DataError
from monitor.learning.datasets import FolderLayout, read_samples
from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_dataset
from monitor.tools.archiver.archive import Archive
from tests.support.events import make_event, make_jpeg
from tests.support.rescoring import write_frame


def labels_of(root: Path) -> dict[str, bool | None]:
    return {frame.path: frame.defective for frame in list_archive(str(root)).frames}


def labels_in_training(root: Path) -> dict[str, bool | None]:
    samples = read_samples([root], layout=FolderLayout(mask_suffix="_mask.png"))
    return {str(it.path.relative_to(root.resolve())): it.defective for it in samples}


def test_the_competition_layout_of_dagm_is_labelled_as_training_reads_it(tmp_path: Path) -> None:
    line = SurfaceGenerator(3, 64, 64, defect_rate=0.5, textures=2)
    assert 0 < write_dataset(line, tmp_path, train=8, test=4) < 12
    assert labels_of(tmp_path) == labels_in_training(tmp_path)


def test_the_development_layout_of_dagm_is_labelled_as_training_reads_it(tmp_path: Path) -> None:
    for name in ("Class1/1.png", "Class1/2.png", "Class1_def/1.png"):
        write_frame(tmp_path / name, 9)
    (tmp_path / "Class1_def" / "labels.txt").write_text("1\t3\t2\t0.5\t6\t4\n")
    assert labels_of(tmp_path) == labels_in_training(tmp_path)


@pytest.mark.parametrize("part", ["", "train/", "test/"])
def test_folders_of_good_and_defective_images_are_labelled_as_training_reads_them(
    tmp_path: Path, part: str
) -> None:
    for name in ("good/1.png", "scratch/1.png", "scratch/deeper/2.png", "hole/3.png"):
        write_frame(tmp_path / "part" / part / name, 9)
    write_frame(tmp_path / "part" / part / "masks/scratch/1.png", 255)
    write_frame(tmp_path / "part" / part / "hole/3_mask.png", 255)
    assert labels_of(tmp_path) == labels_in_training(tmp_path)


def test_images_in_plain_folders_have_no_label_and_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("lot/10.png", "lot/9.png", "2.jpg", ".hidden/3.png", "Thumbs.db"):
        write_frame(tmp_path / name, 9)
    (tmp_path / "notes.txt").write_text("no image")
    assert labels_of(tmp_path) == {"2.jpg": None, "lot/9.png": None, "lot/10.png": None}
    assert list(labels_of(tmp_path)) == ["2.jpg", "lot/9.png", "lot/10.png"]


folder_names = st.sampled_from(["good", "scratch", "train", "test", "masks", "a", "a_def", "Label"])
relative_paths = st.builds(
    lambda folders, stem, suffix: "/".join([*folders, stem + suffix]),
    st.lists(folder_names, max_size=4),
    st.sampled_from(["1", "2", "1_mask", "é"]),
    st.sampled_from([".png", ".JPG", ".txt"]),
)


@given(st.sets(relative_paths, max_size=12))
def test_labels_name_images_alone_and_do_not_depend_on_the_order_of_a_listing(paths: set[str]) -> None:
    labels = label_paths(sorted(paths))
    assert labels == label_paths(sorted(paths, reverse=True))
    assert labels.keys() <= {path for path in paths if not path.endswith(".txt")}
    assert all(labels[path] is False for path in labels if "/good/" in f"/{path}")


def test_of_the_archivers_folders_raw_frames_come_with_the_verdict_of_the_line(tmp_path: Path) -> None:
    events = [make_event(number) for number in range(3)]
    archive = Archive(tmp_path, 10**6)
    for event in events:
        raw = None if event.frame_number == 1 else make_jpeg(event.frame_number)
        assert archive.store(event, make_jpeg(99), raw)
    archive.close()
    with (tmp_path / "2026-11-23" / "events.jsonl").open("a") as lines:
        lines.write(f'{events[0].to_json()}\n{{"id": "cut o')
    listing = list_archive(str(tmp_path))
    assert listing.events_without_frame == 1
    assert [(it.path, it.camera) for it in listing.frames] == [
        (f"2026-11-23/raw/{events[number].id}.jpg", "top") for number in (0, 2)
    ]
    recorded = listing.frames[0].recorded
    assert recorded is not None
    assert (recorded.score, recorded.threshold, recorded.model) == (
        events[0].score,
        events[0].threshold,
        "a" * 64,
    )


def test_an_archive_that_cannot_be_scored_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list_archive(str(tmp_path / "none"))
    with pytest.raises(DataError, match="holds no image"):
        list_archive(str(tmp_path))
    with pytest.raises(DataError, match="cannot be opened") as caught:
        list_archive("nosuch://key:hunter2@bucket")
    assert "hunter2" not in str(caught.value)
    archive = Archive(tmp_path, 10**6)
    archive.store(make_event(0), make_jpeg(99), None)
    archive.close()
    with pytest.raises(DataError, match="1 events and no raw frame"):
        list_archive(str(tmp_path))
