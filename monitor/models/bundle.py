"""A model bundle: a folder with the Keras file, its card, its novelty detector, and reference images."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from monitor.errors import ModelError
from monitor.models.box_head import BoxHead
from monitor.models.card import (
    CARD_NAME,
    BundleFile,
    ModelCard,
    ReferenceFile,
    read_card,
    write_card,
)
from monitor.models.keras_file import load_network
from monitor.models.kinds import KindClassifier
from monitor.models.memory import TrainingMemory
from monitor.models.novelty import NoveltyDetector
from monitor.models.screening import Screening
from monitor.records import Image


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceImage:
    """An image (h, w, 3) uint8 of the network's size, and its score in single precision, 0..1."""

    picture: Image
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class ModelBundle:
    """A bundle whose files are what its card says they are. The network itself is not loaded yet.

    `references` is empty in bundles written before there were any, `kinds` None where training knew none,
    `box_head` None where boxes come from heat alone, `memory` None in bundles written before there was any,
    `screening` None where the whole network classifies all inputs.
    """

    path: Path
    card: ModelCard
    familiarity: NoveltyDetector | None
    references: tuple[ReferenceImage, ...] = ()
    kinds: KindClassifier | None = None
    box_head: BoxHead | None = None
    memory: TrainingMemory | None = None
    screening: Screening | None = None

    def keras_model(self) -> Any:
        """Load the network (a `keras.Model`); nothing in the file is run. Raises `ModelError`."""
        return load_network(
            self.path / self.card.model.file, _read_verified(self.path, self.card.model), self.card
        )


def load_bundle(path: Path) -> ModelBundle:
    """Read the bundle in folder `path` and check the hashes of its files; raises `ModelError`."""
    card = read_card(path)
    _verify(path, card.model)
    familiarity = None
    if card.familiarity is not None:
        familiarity = NoveltyDetector.from_bytes(_read_verified(path, card.familiarity))
    kinds = None if card.kinds is None else KindClassifier.from_bytes(_read_verified(path, card.kinds))
    head = None if card.box_head is None else BoxHead.from_bytes(_read_verified(path, card.box_head))
    memory = None if card.memory is None else TrainingMemory.from_bytes(_read_verified(path, card.memory))
    exit_ = None if card.screening is None else Screening.from_bytes(_read_verified(path, card.screening))
    references = tuple(_reference(path, card, file) for file in card.references)
    return ModelBundle(path, card, familiarity, references, kinds, head, memory, exit_)


def save_bundle(
    path: Path,
    model: Any,
    card: ModelCard,
    familiarity: NoveltyDetector | None,
    references: Sequence[ReferenceImage] = (),
    *,
    kinds: KindClassifier | None = None,
    box_head: BoxHead | None = None,
    memory: TrainingMemory | None = None,
) -> ModelBundle:
    """Write `model` (a `keras.Model`) as a bundle into folder `path`, made where missing.

    The files' names and hashes in `card` are replaced by those written. An earlier bundle there stays whole
    until the new one is: files are named by their content and written first, the card replaces the old
    one last and at once. Raises `ModelError` where the folder cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path, prefix=".writing-") as scratch:
            staged = Path(scratch) / "model.keras"
            model.save(staged)
            model_file = _write_hashed(path, "model", ".keras", staged.read_bytes())
            familiarity_file = None
            if familiarity is not None:
                familiarity_file = _write_hashed(path, "familiarity", ".npz", familiarity.to_bytes())
            kinds_file = None if kinds is None else _write_hashed(path, "kinds", ".npz", kinds.to_bytes())
            card = card.model_copy(
                update={
                    "format": _format(box_head, memory),
                    "model": model_file,
                    "familiarity": familiarity_file,
                    "kinds": kinds_file,
                    "box_head": None if box_head is None else _store_box_head(path, box_head),
                    "memory": None if memory is None else _store_memory(path, memory),
                    "references": _store_references(path, references),
                }
            )
            _replace_card(path, card, Path(scratch))
        _remove_leftovers(path, card)
    except OSError as error:
        raise ModelError(f"the model cannot be written to {path}: {error.strerror or error}") from error
    return ModelBundle(path, card, familiarity, tuple(references), kinds, box_head, memory)


def replace_parts(
    bundle: ModelBundle,
    *,
    references: Sequence[ReferenceImage] | None = None,
    box_head: BoxHead | None = None,
    memory: TrainingMemory | None = None,
    screening: Screening | None = None,
    figures: Mapping[str, float] | None = None,
) -> ModelBundle:
    """Replace what is given, add `figures` to those of the card; the network's file stays.

    Raises `ModelError`.
    """
    path, card = bundle.path, bundle.card
    try:
        with tempfile.TemporaryDirectory(dir=path, prefix=".writing-") as scratch:
            changed: dict[str, object] = {"figures": {**card.figures, **(figures or {})}}
            if references is not None:
                changed["references"] = _store_references(path, references)
            if box_head is not None:
                changed["box_head"] = _store_box_head(path, box_head)
            if memory is not None:
                changed["memory"] = _store_memory(path, memory)
            if screening is not None:
                changed["screening"] = _write_hashed(path, "screening", ".npz", screening.to_bytes())
            changed["format"] = _format(
                box_head or bundle.box_head, memory or bundle.memory, screening or bundle.screening
            )
            card = card.model_copy(update=changed)
            _replace_card(path, card, Path(scratch))
        _remove_leftovers(path, card)
    except OSError as error:
        raise ModelError(f"the model cannot be written to {path}: {error.strerror or error}") from error
    return replace(
        bundle,
        card=card,
        references=bundle.references if references is None else tuple(references),
        box_head=box_head or bundle.box_head,
        memory=memory or bundle.memory,
        screening=screening or bundle.screening,
    )


def _format(
    box_head: BoxHead | None, memory: TrainingMemory | None, screening: Screening | None = None
) -> int:
    """Return the lowest format of a card that holds all of them."""
    return 4 if screening is not None else 3 if memory is not None else 2 if box_head is not None else 1


def _store_box_head(path: Path, box_head: BoxHead) -> BundleFile:
    return _write_hashed(path, "boxes", ".npz", box_head.to_bytes())


def _store_memory(path: Path, memory: TrainingMemory) -> BundleFile:
    return _write_hashed(path, "memory", ".npz", memory.to_bytes())


def _replace_card(path: Path, card: ModelCard, scratch: Path) -> None:
    _write(scratch / CARD_NAME, write_card(card).encode())
    (scratch / CARD_NAME).replace(path / CARD_NAME)
    sync_path(path)


def _store_references(path: Path, references: Sequence[ReferenceImage]) -> tuple[ReferenceFile, ...]:
    files = []
    for reference in references:
        image = reference.picture
        grey = bool((image == image[..., :1]).all())
        _, encoded = cv2.imencode(".png", image[..., 0] if grey else image)
        stored = _write_hashed(path, "reference", ".png", encoded.tobytes())
        files.append(ReferenceFile(file=stored.file, sha256=stored.sha256, score=reference.score))
    return tuple(files)


def _reference(folder: Path, card: ModelCard, expected: ReferenceFile) -> ReferenceImage:
    content = np.frombuffer(_read_verified(folder, expected), np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR_BGR) if content.size else None
    if image is None or image.shape != (*card.input_size, 3):
        raise ModelError(
            f"{folder / expected.file} is not an image of the network's size, as a reference must be"
        )
    return ReferenceImage(np.asarray(image, np.uint8), expected.score)


def _write_hashed(folder: Path, stem: str, suffix: str, content: bytes) -> BundleFile:
    digest = hashlib.sha256(content).hexdigest()
    name = f"{stem}-{digest[:12]}{suffix}"
    _write(folder / f".{name}", content)
    (folder / f".{name}").replace(folder / name)
    return BundleFile(file=name, sha256=digest)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_path(path: Path) -> None:
    """Have a file, or the names of a folder's files, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: Path, card: ModelCard) -> None:
    """Delete the files of earlier bundles, and those of a write that was cut short."""
    parts = (card.model, card.familiarity, card.kinds, card.box_head, card.memory, card.screening)
    kept = {part.file for part in parts if part is not None}
    kept |= {reference.file for reference in card.references}
    arrays = ("familiarity", "kinds", "boxes", "memory", "screening")
    for pattern in ("model-*.keras", *(f"{stem}-*.npz" for stem in arrays), "reference-*.png"):
        for path in (*folder.glob(pattern), *folder.glob(f".{pattern}")):
            if path.name not in kept:
                path.unlink()


def _read_verified(folder: Path, expected: BundleFile) -> bytes:
    with _open(folder, expected) as file:
        content = file.read()
    _compare(folder, expected, hashlib.sha256(content).hexdigest())
    return content


def _verify(folder: Path, expected: BundleFile) -> None:
    """Check a file piece by piece. As a whole it would stay in the heap of each thread that reloads."""
    with _open(folder, expected) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _compare(folder, expected, digest)


@contextmanager
def _open(folder: Path, expected: BundleFile) -> Iterator[BufferedReader]:
    path = folder / expected.file
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise ModelError(f"the model at {folder} is incomplete: {path} does not exist") from error
    except OSError as error:
        raise ModelError(f"the model file {path} cannot be read: {error.strerror}") from error


def _compare(folder: Path, expected: BundleFile, digest: str) -> None:
    if digest != expected.sha256:
        path = folder / expected.file
        raise ModelError(f"{path} is not the file its card names (SHA-256 differs): altered or damaged")
