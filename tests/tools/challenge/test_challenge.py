"""What a challenge records of each image, for answers that are given here."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from monitor.events.challenge import ChallengeAnswer
from monitor.events.event import EventRegion
from monitor.learning.datasets.reader import read_rejects
from monitor.tools.challenge.challenge import run_challenge
from monitor.tools.challenge.signed_log import SignedLog, read_log

KEY = b"0123456789abcdef"


def write_image(path: Path, *place: slice) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((48, 64), 80, np.uint8)
    if place:
        image[:] = 0
        image[place] = 255
    assert cv2.imwrite(str(path), image)


def answer(outcome: str, *boxes: tuple[int, int, int, int]) -> ChallengeAnswer:
    regions = [
        EventRegion(x=x, y=y, width=w, height=h, centroid=(0, 0), peak_at=(0, 0), peak=1, area=1, contour=())
        for x, y, w, h in boxes
    ]
    return ChallengeAnswer(
        camera="top",
        daemon="d",
        inspected_at=datetime(2026, 11, 30, tzinfo=UTC),
        outcome=outcome,  # type: ignore[arg-type]  # one of the literal's values
        width=64,
        height=48,
        score=0.7,
        threshold=0.5,
        regions=tuple(regions),
    )


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    folder = tmp_path / "rejects"
    for name in (
        "scratch/hit.png",
        "scratch/beside.png",
        "pit/missed.png",
        "good/fine.png",
        "good/flagged.png",
    ):
        write_image(folder / name)
    for name in ("hit", "beside"):
        write_image(folder / "masks" / "scratch" / f"{name}.png", slice(10, 20), slice(20, 40))
    (folder / "pit" / "broken.png").write_bytes(b"no image")
    return folder


ANSWERS = {
    "scratch/hit.png": answer("defect", (0, 0, 4, 4), (25, 5, 10, 20)),
    "scratch/beside.png": answer("defect", (0, 0, 30, 10)),
    "pit/missed.png": answer("clean"),
    "pit/broken.png": answer("not-inspected"),
    "good/fine.png": answer("clean"),
    "good/flagged.png": answer("defect", (1, 1, 2, 2)),
}


def run(folder: Path, path: Path) -> tuple[Any, list[dict[str, Any]]]:
    log = SignedLog(path, KEY)
    summary = run_challenge(
        folder, read_rejects(folder), lambda file, _: ANSWERS[file], log, camera="top", author="ann"
    )
    log.close()
    return summary, read_log(path, KEY)


def test_each_image_is_recorded_with_its_hash_verdict_and_whether_a_box_hit(
    rejects: Path, tmp_path: Path
) -> None:
    summary, (first, *images, last) = run(rejects, tmp_path / "log")
    by_file = {it["file"]: it for it in images}
    assert by_file.keys() == ANSWERS.keys()
    assert {file: it["box_hit"] for file, it in by_file.items()} == {
        "scratch/hit.png": True,
        "scratch/beside.png": False,
        "pit/missed.png": None,
        "pit/broken.png": None,
        "good/fine.png": None,
        "good/flagged.png": None,
    }
    hit = by_file["scratch/hit.png"]
    content = (rejects / "scratch/hit.png").read_bytes()
    assert hit["sha256"] == hashlib.sha256(content).hexdigest()
    assert (hit["expected"], hit["defect_kind"], hit["outcome"]) == ("defect", "scratch", "defect")
    assert (hit["score"], hit["threshold"], hit["test"]) == (0.7, 0.5, True)
    assert hit["boxes"] == [[0, 0, 4, 4], [25, 5, 10, 20]]
    assert by_file["good/fine.png"]["expected"] == "clean"
    assert (first["camera"], first["author"], first["images"]) == ("top", "ann", 6)
    assert not summary.has_passed
    assert last["passed"] is False
    assert (last["rejects"], last["found"], last["good"]) == (4, 2, 2)
    assert last["missed"] == ["pit/missed.png"]
    assert last["not_inspected"] == ["pit/broken.png"]
    assert last["false_alarms"] == ["good/flagged.png"]


def test_a_challenge_passes_when_all_rejects_are_found_whatever_becomes_of_good_images(
    rejects: Path, tmp_path: Path
) -> None:
    for name in ("missed", "broken"):
        (rejects / "pit" / f"{name}.png").rename(tmp_path / f"{name}.png")
    (rejects / "pit").rmdir()
    summary, _ = run(rejects, tmp_path / "log")
    assert summary.has_passed
    assert summary.false_alarms == ("good/flagged.png",)


def test_a_file_that_cannot_be_read_is_recorded_as_not_inspected(rejects: Path, tmp_path: Path) -> None:
    samples = read_rejects(rejects)
    (rejects / "scratch" / "hit.png").unlink()
    log = SignedLog(tmp_path / "log", KEY)
    summary = run_challenge(rejects, samples, lambda file, _: ANSWERS[file], log, camera="top", author="ann")
    log.close()
    assert summary.not_inspected == ("pit/broken.png", "scratch/hit.png")
    (record,) = [it for it in read_log(log.path, KEY) if it.get("file") == "scratch/hit.png"]
    assert (record["sha256"], record["reason"]) == (None, "cannot be read: No such file or directory")
