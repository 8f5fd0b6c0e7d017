"""From labels to a folder: repeatable, whole or not there, and refused where it was changed."""

import base64
import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.errors import DataError, UsageError
from monitor.learning.datasets import load_mask, read_samples
from monitor.learning.datasets.export import export_dataset
from monitor.learning.datasets.fingerprint import position
from monitor.learning.datasets.manifest import MANIFEST_NAME, Manifest, read_manifest
from tests.support.labels import make_mask
from tests.support.learning_archive import LearningArchive


@pytest.fixture
def archive(tmp_path: Path) -> LearningArchive:
    return LearningArchive(tmp_path / "archive")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_labels_become_folders_masks_and_a_split(archive: LearningArchive, tmp_path: Path):
    archive.fill(30)
    done = CliRunner().invoke(
        app, ["dataset", "export", "--archive", str(archive.root), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    samples = read_samples([tmp_path / "out"])
    assert len(samples) == 30
    assert {sample.category for sample in samples} == {"good", "scratch"}
    assert {sample.split for sample in samples} == {"Train", "Test"}
    defect = next(sample for sample in samples if sample.defective)
    mask = load_mask(defect, 48, 64)
    assert mask is not None
    assert np.array_equal(np.argwhere(mask)[[0, -1]], [[5, 10], [16, 29]])
    assert load_image_bytes(archive, defect.path) == defect.path.read_bytes()


def load_image_bytes(archive: LearningArchive, exported: Path) -> bytes:
    return (archive.day / "samples" / exported.name).read_bytes()


def test_the_same_labels_give_the_same_bytes_whatever_their_order(archive: LearningArchive, tmp_path: Path):
    archive.fill(12)
    export_dataset(archive.root, tmp_path / "one")
    for name in ("samples.jsonl", "labels.jsonl"):
        path = archive.day / name
        path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))) + '{"cut off')
    export_dataset(archive.root, tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_more_labels_move_no_image_to_the_other_side(archive: LearningArchive, tmp_path: Path):
    archive.fill(12)
    export_dataset(archive.root, tmp_path / "few")
    for number in range(12, 30):
        archive.label(archive.frame(number), "good")
    export_dataset(archive.root, tmp_path / "many")
    sides = {one.pixels: one.split for one in read_manifest(tmp_path / "many").images}
    assert all(sides[one.pixels] == one.split for one in read_manifest(tmp_path / "few").images)


def test_frames_of_one_incident_stay_on_one_side(archive: LearningArchive, tmp_path: Path):
    for number in range(24):
        archive.label(
            archive.frame(number, incident=f"incident-{number // 4}"), "defect" if number % 2 else "good"
        )
    export_dataset(archive.root, tmp_path / "out", holdout=0.5)
    sides: dict[str, set[str]] = {}
    for one in read_manifest(tmp_path / "out").images:
        sides.setdefault(one.group, set()).add(one.split)
    assert len(sides) == 6
    assert all(len(side) == 1 for side in sides.values())
    assert {next(iter(side)) for side in sides.values()} == {"Train", "Test"}


def test_what_has_no_certain_answer_is_left_out_and_counted(archive: LearningArchive, tmp_path: Path):
    archive.fill(6)
    unsure, disputed, withdrawn, expired, second = (archive.frame(number) for number in range(10, 15))
    archive.label(unsure, "unsure")
    archive.label(disputed, "good", author="ann")
    archive.label(disputed, "defect", author="bob")
    label = archive.label(withdrawn, "defect")
    archive.label(withdrawn, None, withdraws=label.id, seconds=1)
    archive.label(expired, "good")
    (archive.day / "samples" / f"{expired.id}.png").unlink()
    archive.label(second, "unsure", author="ann")
    archive.label(second, "defect", author="bob", mask_png=make_mask(64, 48))
    found = export_dataset(archive.root, tmp_path / "out")
    assert sum(found.counts.values()) == 7
    assert found.left_out == {
        "unsure frames": 1,
        "frames on which people disagree": 1,
        "frames whose image is missing or damaged": 1,
    }
    assert (tmp_path / "out" / "defect" / f"{second.id}.png").exists()
    assert (tmp_path / "out" / "masks" / "defect" / f"{second.id}.png").exists()


def test_a_mask_tells_the_place_of_its_defect_and_a_box_that_of_another(
    archive: LearningArchive, tmp_path: Path
):
    painted = np.zeros((48, 64), np.uint8)
    painted[10:12, 20:30] = 255
    archive.label(archive.frame(1), "good")
    archive.label(
        archive.frame(0),
        "defect",
        boxes=((18, 8, 15, 8), (40, 30, 5, 6), (42, 32, 5, 6)),  # around the mask, and two beside it
        mask_png=base64.b64encode(bytes(cv2.imencode(".png", painted)[1])).decode(),
    )
    export_dataset(archive.root, tmp_path / "out")
    exported = next(it for it in read_samples([tmp_path / "out"]) if it.defective)
    mask = load_mask(exported, 48, 64)
    expected = painted > 0
    expected[30:36, 40:45] = expected[32:38, 42:47] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_frame_to_train_on_that_nearly_repeats_the_holdout_is_left_out(
    archive: LearningArchive, tmp_path: Path
):
    archive.fill(12)
    export_dataset(archive.root, tmp_path / "before", holdout=0.5)
    held_out = next(one for one in read_manifest(tmp_path / "before").images if one.split == "Test")
    pixels = cv2.imread(str(tmp_path / "before" / held_out.file))
    repeats = [archive.frame(number, cv2.convertScaleAbs(pixels, beta=number - 44)) for number in (45, 46)]
    for repeat in repeats:
        archive.label(repeat, "good")
    to_train = [repeat for repeat in repeats if position(repeat.id, "holdout") >= 0.5]
    assert len(to_train) == 1
    found = export_dataset(archive.root, tmp_path / "after", holdout=0.5)
    assert found.left_out == {"frames to train on that nearly repeat the holdout": 1}
    assert not list((tmp_path / "after").rglob(f"{to_train[0].id}.png"))


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_full_disk_is_one_sentence_and_leaves_no_half_folder(
    archive: LearningArchive, tmp_path: Path, *, is_replaced: bool
):
    archive.fill(12)
    out = tmp_path / "out"
    if is_replaced:
        export_dataset(archive.root, out)
        archive.label(archive.frame(50), "good")
    before = files_of(out) if is_replaced else {}
    with (
        full_disk(1000),
        pytest.raises(DataError, match=r"cannot be written to .*: File too large") as caught,
    ):
        export_dataset(archive.root, out, overwrite=is_replaced)
    assert "\n" not in str(caught.value)
    assert files_of(out) == before if is_replaced else not out.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"archive", "out"}


def test_an_export_goes_on_after_a_kill_and_replaces_only_an_export(archive: LearningArchive, tmp_path: Path):
    archive.fill(6)
    half = tmp_path / ".out.part" / "good"
    half.mkdir(parents=True)
    (half / "x.png").write_bytes(b"half")
    export_dataset(archive.root, tmp_path / "out")
    assert not half.exists()
    with pytest.raises(UsageError, match="already holds a dataset"):
        export_dataset(archive.root, tmp_path / "out")
    before = files_of(tmp_path / "out")
    export_dataset(archive.root, tmp_path / "out", overwrite=True)
    assert files_of(tmp_path / "out") == before
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").touch()
    with pytest.raises(UsageError, match="is no exported dataset"):
        export_dataset(archive.root, tmp_path / "photos", overwrite=True)


@pytest.fixture
def exported(archive: LearningArchive, tmp_path: Path) -> Path:
    archive.fill(24)
    export_dataset(archive.root, tmp_path / "out")
    return tmp_path / "out"


def test_a_manifest_edited_by_hand_is_refused(exported: Path):
    path = exported / MANIFEST_NAME
    path.write_text(path.read_text().replace('"split": "Test"', '"split": "Train"', 1))
    with pytest.raises(DataError, match="was changed after the export"):
        read_samples([exported])


def test_a_manifest_that_is_none_is_refused(exported: Path):
    document = json.loads((exported / MANIFEST_NAME).read_text())
    document["images"][0]["answer"] = "perhaps"
    (exported / MANIFEST_NAME).write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"is no manifest: images\.0\.answer"):
        read_samples([exported])


@pytest.mark.parametrize("kind", ["group", "pixels"])
def test_a_holdout_that_leaks_is_refused_by_train(exported: Path, kind: str):
    images = list(read_manifest(exported).images)
    first = next(one for one in images if one.split == "Train")
    index = next(index for index, one in enumerate(images) if one.split == "Test")
    images[index] = images[index].model_copy(update={kind: getattr(first, kind)})
    (exported / MANIFEST_NAME).write_text(Manifest.of(images, 0.2).to_text())
    result = CliRunner().invoke(
        app, ["train", "--data", str(exported), "--init", "none", "--out", str(exported.parent / "model")]
    )
    assert isinstance(result.exception, DataError)
    assert "leaks" in str(result.exception)
    assert not (exported.parent / "model").exists()


def test_files_that_do_not_fit_the_manifest_are_refused(exported: Path, tmp_path: Path):
    one, other, *_ = sorted((exported / "good").iterdir())
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    with pytest.raises(DataError, match="is not the image that the manifest names"):
        read_samples([exported])
    one.write_bytes(kept)
    mask = next((exported / "masks" / "scratch").iterdir())
    drawn = mask.read_bytes()
    mask.write_bytes(b"")
    with pytest.raises(DataError, match="is not the mask that the manifest names"):
        read_samples([exported])
    mask.write_bytes(drawn)
    (exported / "dent").mkdir()
    shutil.copy(one, exported / "dent" / "new.png")
    with pytest.raises(DataError, match=r"dent/new\.png is not in the manifest"):
        read_samples([exported])


@pytest.mark.parametrize("prepare", ["no archive", "no labels"])
def test_an_archive_without_answers_is_one_sentence(archive: LearningArchive, tmp_path: Path, prepare: str):
    if prepare == "no labels":
        archive.frame(1)
    with pytest.raises(DataError, match=r"does not exist|holds no frame with an answer"):
        export_dataset(archive.root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
