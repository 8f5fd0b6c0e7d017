"""Each frame of an archive once, whatever was killed in between; the same table every time."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

import pyarrow as pa
import pyarrow.parquet as pq

from monitor.cluster.archive_frames import ArchivedFrame
from monitor.cluster.frame_scorer import SCORES, ScoringOptions
from monitor.cluster.rescoring import rescore
from monitor.cluster.score_store import ScoreStore
from monitor.errors import DataError, ModelError, UsageError
from monitor.learning.datasets.tiling import Tiling
from monitor.learning.evaluate.model_under_test import load_model_under_test
from monitor.models.bundle import ModelBundle
from monitor.models.card import BundleFile
from monitor.models.packing import pack_bundle, unpack_bundle
from monitor.tools.archiver.archive import Archive
from tests.support import ROOT
from tests.support.events import make_event, make_jpeg
from tests.support.rescoring import BrightnessOptions, bundle_of, write_frame

MODEL = bundle_of().card.model.sha256


def table_of(out: Path, model: str = MODEL) -> bytes:
    return (out / model[:12] / "scores.parquet").read_bytes()


def rows_of(out: Path, model: str = MODEL) -> list[dict[str, object]]:
    return pq.read_table(out / model[:12] / "scores.parquet").to_pylist()


def test_every_frame_gets_the_score_of_its_highest_tile(tmp_path: Path) -> None:
    for shade in (0, 51, 255):
        write_frame(tmp_path / "in" / f"{shade}.png", shade)
    options = BrightnessOptions(Tiling(tiles=(1, 2)))
    report, folder = rescore(str(tmp_path / "in"), bundle_of(), tmp_path / "out", options)
    rows = rows_of(tmp_path / "out")
    assert [(it["path"], it["defective"]) for it in rows] == [
        ("0.png", False),
        ("51.png", False),
        ("255.png", True),
    ]
    assert [it["score"] for it in rows] == pytest.approx([0, 0.2, 1])
    assert (report["files"], report["frames"], report["defective"]) == (3, 3, 1)
    assert json.loads((folder / "report.json").read_text()) == report


def test_the_tiles_of_an_archived_frame_are_those_of_its_camera(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "in", 10**6)
    for number, camera in enumerate(("top", "side")):
        archive.store(make_event(number, camera), None, make_jpeg(100 + number, 64))
    archive.close()
    tilings = {"top": Tiling((0, 0, 8, 8)), "side": Tiling((60, 60, 8, 8))}
    rescore(str(tmp_path / "in"), bundle_of(), tmp_path / "out", BrightnessOptions(camera_tilings=tilings))
    errors = {it["camera"]: it["error"] for it in rows_of(tmp_path / "out")}
    assert errors["top"] is None
    assert "does not lie within" in str(errors["side"])


def test_a_frame_whose_camera_has_no_tiles_in_the_settings_is_refused(tmp_path: Path) -> None:
    write_frame(tmp_path / "in" / "1.png", 9)
    options = BrightnessOptions(camera_tilings={"top": Tiling()})
    with pytest.raises(UsageError, match="no tiles for frames without an event: choose a camera's"):
        rescore(str(tmp_path / "in"), bundle_of(), tmp_path / "out", options)


def test_a_file_that_is_no_image_is_reported_and_stops_nothing(tmp_path: Path) -> None:
    write_frame(tmp_path / "in" / "1.png", 200)
    (tmp_path / "in" / "2.png").write_bytes(b"no image")
    report, _ = rescore(str(tmp_path / "in"), bundle_of(), tmp_path / "out", BrightnessOptions())
    assert (report["frames"], report["unreadable"]) == (2, 1)
    assert rows_of(tmp_path / "out")[1]["error"] == "2.png: not an image, or a damaged one"


def test_frames_with_the_same_pixels_have_one_row(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "lot/c.png"):
        write_frame(tmp_path / "in" / name, 70)
    report, _ = rescore(str(tmp_path / "in"), bundle_of(), tmp_path / "out", BrightnessOptions())
    assert (report["files"], report["frames"], report["repeated"]) == (3, 1, 2)
    assert [it["path"] for it in rows_of(tmp_path / "out")] == ["a.png"]


def test_a_second_run_scores_new_and_changed_files_alone(tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for shade in range(3):
        write_frame(root / f"{shade}.png", shade)
    rescore(str(root), bundle_of(), out, BrightnessOptions())
    write_frame(root / "1.png", 101)
    write_frame(root / "3.png", 3)
    (root / "2.png").unlink()
    steps: list[tuple[int, int]] = []
    rescore(str(root), bundle_of(), out, BrightnessOptions(), on_scored=lambda *step: steps.append(step))
    assert steps == [(1, 3), (3, 3)]
    assert [it["path"] for it in rows_of(out)] == ["0.png", "1.png", "3.png"]


def test_scores_cut_otherwise_are_not_mixed(tmp_path: Path) -> None:
    write_frame(tmp_path / "in" / "1.png", 9)
    rescore(str(tmp_path / "in"), bundle_of(), tmp_path / "out", BrightnessOptions())
    with pytest.raises(DataError, match="with another tiling: give another --out"):
        rescore(str(tmp_path / "in"), bundle_of(), tmp_path / "out", BrightnessOptions(Tiling(tiles=(1, 2))))


def test_two_runs_on_one_folder_at_a_time_are_refused(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path, MODEL, {})
    with pytest.raises(DataError, match="another rescore writes to"):
        ScoreStore(tmp_path, MODEL, {})
    store.close()


def test_the_report_compares_with_the_line_with_labels_and_with_other_models(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "line", 10**6)
    for number, shade in enumerate((20, 230)):
        archive.store(make_event(number), None, make_jpeg(shade))
    archive.close()
    report, _ = rescore(str(tmp_path / "line"), bundle_of(), tmp_path / "line-out", BrightnessOptions())
    assert report["line"]["still_flagged"] == report["line"]["now_clean"] == 1
    assert report["line"]["models"] == {"a" * 64: 2}
    assert report["labels"] is None

    for name, shade in (("good/1.png", 10), ("good/2.png", 200), ("hole/1.png", 220), ("hole/2.png", 30)):
        write_frame(tmp_path / "parts" / name, shade)
    bold = bundle_of(threshold=0.9, model=BundleFile(file="b.keras", sha256="b" * 64))
    rescore(str(tmp_path / "parts"), bold, tmp_path / "out", BrightnessOptions())
    report, _ = rescore(str(tmp_path / "parts"), bundle_of(), tmp_path / "out", BrightnessOptions())
    assert {name: report["labels"][name] for name in ("misses", "false_alarms", "auc")} == {
        "misses": 1,
        "false_alarms": 1,
        "auc": 0.75,
    }
    (other,) = report["models"]
    assert (other["frames"], other["only_this"], other["none_flags"]) == (4, 2, 2)


def scored(frames: Sequence[ArchivedFrame]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "path": it.path,
                "size": it.size,
                "modified": it.modified,
                "frame": str(it.size % 5),
                "score": it.size / 10,
            }
            for it in frames
        ],
        schema=SCORES,
    )


@given(st.data())
@settings(max_examples=15)
def test_the_table_is_the_same_in_whatever_order_and_parts_scores_came(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=12))
    frames = [ArchivedFrame(f"{index}.png", size, 7) for index, size in enumerate(sizes)]
    with TemporaryDirectory() as folder:
        tables = []
        for name in ("undisturbed", "disturbed"):
            with closing(ScoreStore(Path(folder, name), MODEL, {})) as store:
                if name == "undisturbed":
                    store.append(scored(frames))
                while remaining := store.unscored(frames):
                    store.append(
                        scored(data.draw(st.lists(st.sampled_from(remaining), min_size=1, max_size=4)))
                    )
                table, repeated = store.finish(frames, 0.5)
            assert len(table) + repeated == len(frames)
            assert len(set(table["frame"].to_pylist())) == len(table)
            tables.append(table_of(Path(folder, name)))
        assert tables[0] == tables[1]


def test_a_run_that_is_killed_goes_on_where_it_was_and_ends_with_the_same_table(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for number in range(48):
        write_frame(root / f"{number}.png", number * 5)
    rescore(str(root), bundle_of(), tmp_path / "undisturbed", BrightnessOptions())
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "tests.support.rescoring", str(root), str(out)]
    parts: list[Path] = []
    for least in (1, 3):
        with subprocess.Popen(command, cwd=ROOT) as process:
            while len(list(out.glob("*/parts/*.parquet"))) < least and process.poll() is None:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        parts = list(out.glob("*/parts/*.parquet"))
    stored = sum(len(pq.read_table(part)) for part in parts)
    last = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < stored < 48
    assert int(last.stdout) == 48 - stored
    assert table_of(out) == table_of(tmp_path / "undisturbed")
    assert sum(len(pq.read_table(part)) for part in out.glob("*/parts/*.parquet")) == 48


def test_a_bundle_survives_packing_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of()
    packed = pack_bundle(bundle)
    assert packed == pack_bundle(unpack_bundle(packed, tmp_path))
    with pytest.raises(ModelError, match="cannot be unpacked"):
        unpack_bundle(packed[:1000], tmp_path)


def test_a_network_scores_as_in_an_evaluation(tmp_path: Path, small_bundle: ModelBundle) -> None:
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (3, 40, 48, 3), dtype=np.uint8)
    for number, image in enumerate(images):
        (tmp_path / "in").mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), image)
    tiling = Tiling(tiles=(1, 2))
    rescore(str(tmp_path / "in"), small_bundle, tmp_path / "out", ScoringOptions(tiling, device="cpu"))
    network = load_model_under_test(small_bundle, device="cpu", tiling=tiling)
    expected = [network.classify(np.stack(network.cut(image)[1])).scores.max() for image in images]
    rows = rows_of(tmp_path / "out", small_bundle.card.model.sha256)
    assert [row["score"] for row in rows] == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_same_table_as_this_process(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (make test-scale installs it)")
    pytest.importorskip("pandas", reason="Ray Data is not installed")
    from monitor.cluster.rescoring import RayOptions

    root, bundle = tmp_path / "in", bundle_of()
    for number in range(200):
        write_frame(root / f"{number}.png", number)
    rescore(str(root), bundle, tmp_path / "local", BrightnessOptions())
    ray = RayOptions("local", workers=2, cpus=1)
    rescore(str(root), bundle, tmp_path / "ray", BrightnessOptions(), ray=ray)
    model = bundle.card.model.sha256
    assert table_of(tmp_path / "ray", model) == table_of(tmp_path / "local", model)
