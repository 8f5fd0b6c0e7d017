"""Export the labelled frames of an archive as a dataset: the same labels give the same folder."""

import base64
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError, ImageError, UsageError
from monitor.events.labels import Label, joint_answer, standing_labels
from monitor.events.samples import Sample as KeptFrame
from monitor.imaging.files import read_image
from monitor.learning.datasets.fingerprint import pixel_hash, position
from monitor.learning.datasets.manifest import (
    MANIFEST_NAME,
    Manifest,
    ManifestImage,
    is_exported,
    read_manifest,
)
from monitor.learning.datasets.near_duplicates import Thumbnail, near_duplicates, thumbnail

UNNAMED = "defect"
"""Folder of defects whose kind nobody named."""

HOLDOUT = 0.2

Document = TypeVar("Document", KeptFrame, Label)


@dataclass(frozen=True, slots=True)
class Export:
    """What was exported: images by (split, category), and the labelled frames left out, by reason."""

    counts: dict[tuple[str, str], int]
    left_out: dict[str, int]

    def lines(self) -> list[str]:
        """Return the result as sentences for people."""
        found = [f"{split}: {count} {kind}" for (split, kind), count in sorted(self.counts.items())]
        return found + [f"left out: {count} {reason}" for reason, count in sorted(self.left_out.items())]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A labelled frame: the record for the manifest, its file, its mask as PNG, and what it looks like."""

    record: ManifestImage
    source: Path
    mask: bytes | None
    looks: Thumbnail


def export_dataset(
    archive: Path, out: Path, *, holdout: float = HOLDOUT, camera: str | None = None, overwrite: bool = False
) -> Export:
    """Write the frames of `archive` that have an answer as folders `good`, one for each kind, and `masks`.

    Frames of which people are unsure, or on which they disagree, are left out. About `holdout` (0..1) of the
    groups, incidents or single frames, are set aside, by a hash of the group alone: more labels move none.
    `camera` selects one. The folder appears at once and whole. Raises `UsageError` where `out` holds
    anything else than an earlier export to `overwrite`, `DataError` where there is nothing to export or the
    disk fails.
    """
    _refuse_to_replace(out, overwrite=overwrite)
    left_out: Counter[str] = Counter()
    candidates = list(_candidates(archive, holdout, camera, left_out))
    chosen = _without_repeats(candidates, left_out)
    if not chosen:
        raise DataError(f"{archive} holds no frame with an answer to export{_reasons(left_out)}")
    _write(out, chosen, holdout)
    counts: Counter[tuple[str, str]] = Counter(
        (one.record.split, one.record.file.split("/", 1)[0]) for one in chosen
    )
    return Export(dict(counts), dict(left_out))


def _candidates(
    archive: Path, holdout: float, camera: str | None, left_out: Counter[str]
) -> Iterator[_Candidate]:
    if not archive.is_dir():
        raise DataError(f"the archive {archive} does not exist")
    kept: dict[str, tuple[KeptFrame, Path]] = {}
    for path in sorted(archive.glob("*/samples.jsonl")):
        for frame in _documents(path, KeptFrame):
            kept[frame.id] = frame, path.parent / "samples" / f"{frame.id}.png"
    labels = [label for path in sorted(archive.glob("*/labels.jsonl")) for label in _documents(path, Label)]
    for frame_id, own in sorted(standing_labels(labels).items()):
        if camera is not None and own[0].camera != camera:
            continue
        answer = joint_answer(own)
        if answer in ("unsure", "disputed", None):
            left_out["frames on which people disagree" if answer == "disputed" else "unsure frames"] += 1
            continue
        if frame_id not in kept:
            left_out["labelled frames that the archive does not hold"] += 1
            continue
        try:
            yield _candidate(*kept[frame_id], own, holdout, defective=answer == "defect")
        except ImageError:
            left_out["frames whose image is missing or damaged"] += 1


def _documents(path: Path, kind: type[Document]) -> Iterator[Document]:
    """Read the documents of a file of lines; a line that a crash cut off is skipped, it follows whole."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    for line in lines:
        try:
            yield kind.from_json(line)
        except ValueError:
            continue


def _candidate(
    frame: KeptFrame, source: Path, labels: Sequence[Label], holdout: float, *, defective: bool
) -> _Candidate:
    image = read_image(source)
    height, width = image.shape[:2]
    kind, mask = "good", None
    if defective:
        named = [label.defect_kind for label in labels if label.defect_kind]
        kind = named[-1] if named else UNNAMED
        marked = _marked(labels, height, width)
        mask = None if marked is None else _png(marked)
    group = frame.incident or frame.id
    record = ManifestImage(
        file=f"{kind}/{frame.id}.png",
        pixels=pixel_hash(image),
        mask=None if mask is None else f"masks/{kind}/{frame.id}.png",
        mask_sha256=None if mask is None else hashlib.sha256(mask).hexdigest(),
        answer="defect" if defective else "good",
        split="Test" if position(group, "holdout") < holdout else "Train",
        group=group,
        camera=frame.camera,
        captured_at=frame.captured_at.isoformat(),
        reason=frame.reason,
        model_sha256=frame.model.sha256,
        score=frame.score,
        labels=tuple(label.id for label in labels),
        authors=tuple(sorted({label.author for label in labels})),
    )
    return _Candidate(record, source, mask, thumbnail(image))


def _marked(labels: Sequence[Label], height: int, width: int) -> NDArray[np.uint8] | None:
    """Return where the last label with boxes or a mask that fit the frame sees the defect: 0 or 255."""
    for label in reversed(labels):
        try:
            label.check_fits(width, height)
        except ValueError:
            continue
        painted = np.zeros((height, width), np.bool_)
        if label.mask_png is not None:
            data = np.frombuffer(base64.b64decode(label.mask_png), np.uint8)
            mask = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
            if mask is not None and mask.shape == painted.shape:
                painted = mask > 0
        marked = painted.astype(np.uint8) * 255
        for box in label.boxes:
            inside = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
            if not painted[inside].any():  # a mask tells the place of its defect more exactly
                marked[inside] = 255
        if marked.any():
            return marked
    return None


def _png(pixels: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


def _without_repeats(candidates: Sequence[_Candidate], left_out: Counter[str]) -> list[_Candidate]:
    """Leave out what would leak: of equal images all but one, and what the holdout nearly repeats."""
    first: dict[str, _Candidate] = {}
    for one in sorted(candidates, key=lambda it: (it.record.split != "Test", it.record.file)):
        known = first.setdefault(one.record.pixels, one)
        if known is not one:
            left_out["frames with the pixels of another"] += 1
            if known.record.answer != one.record.answer:
                raise DataError(
                    f"the same image is labelled both good and defective: {known.source} and {one.source}"
                )
    chosen = list(first.values())
    leaking = set()
    for alike in near_duplicates([one.looks for one in chosen]):
        if len({chosen[index].record.split for index in alike}) > 1:
            leaking |= {index for index in alike if chosen[index].record.split == "Train"}
    if leaking:
        left_out["frames to train on that nearly repeat the holdout"] += len(leaking)
    return [one for index, one in enumerate(chosen) if index not in leaking]


def _reasons(left_out: Counter[str]) -> str:
    return "".join(f"; left out: {count} {reason}" for reason, count in sorted(left_out.items()))


def _refuse_to_replace(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_exported(out):
        raise UsageError(f"{out} exists and is no exported dataset: name another folder")
    if not overwrite:
        raise UsageError(f"{out} already holds a dataset: name another folder, or add --overwrite")
    read_manifest(out)


def _write(out: Path, chosen: Sequence[_Candidate], holdout: float) -> None:
    """Write beside `out` and rename: a folder of this name is whole."""
    part, former = (out.with_name(f".{out.name}.{word}") for word in ("part", "former"))
    try:
        for leftover in (part, former):
            if leftover.exists():
                shutil.rmtree(leftover)
        part.mkdir(parents=True)
        for one in chosen:
            _store(part / one.record.file, one.source.read_bytes())
            if one.record.mask is not None and one.mask is not None:
                _store(part / one.record.mask, one.mask)
        manifest = Manifest.of([one.record for one in chosen], holdout)
        _store(part / MANIFEST_NAME, manifest.to_text().encode())
        if is_exported(out):
            out.rename(former)
        part.rename(out)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        if former.exists() and not out.exists():
            former.rename(out)
        raise DataError(f"the dataset cannot be written to {out}: {error.strerror or error}") from error
    shutil.rmtree(former, ignore_errors=True)


def _store(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
