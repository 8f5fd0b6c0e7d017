"""The manifest of an exported dataset: origin, labels and side of the split of each image."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.errors import DataError
from monitor.imaging.folders import find_images, is_leftover
from monitor.learning.datasets.fingerprint import pixel_hash
from monitor.learning.datasets.sample import Sample, Split, load_image

MANIFEST_NAME = "manifest.json"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

RelativeFile = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*(/[^./\\][^/\\]*)*$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManifestImage(_Record):
    """One image of the folder."""

    file: RelativeFile
    pixels: Sha256 = Field(description="hash of the pixels, whatever the encoding")
    mask: RelativeFile | None = None
    mask_sha256: Sha256 | None = Field(default=None, description="hash of the mask's file")
    answer: Literal["good", "defect"]
    split: Split
    group: str = Field(description="incident or frame: what stays on one side of the split")
    camera: str
    captured_at: str
    reason: str = Field(description="why the daemon kept the frame")
    model_sha256: str = Field(description="the model that classified it")
    score: float
    labels: tuple[str, ...] = Field(description="ids of the labels that count")
    authors: tuple[str, ...]


class Manifest(_Record):
    """All images, in the order of their files; `digest` is the hash of the rest of the document."""

    version: Literal[1] = 1
    holdout: float
    images: tuple[ManifestImage, ...]
    digest: str

    @classmethod
    def of(cls, images: Sequence[ManifestImage], holdout: float) -> Self:
        """Return the manifest of `images`, a fraction `holdout` of which is meant to be set aside."""
        draft = cls(holdout=holdout, images=tuple(sorted(images, key=lambda image: image.file)), digest="")
        return draft.model_copy(update={"digest": draft.computed_digest()})

    def computed_digest(self) -> str:
        """Return the hash that `digest` has where nothing was changed by hand."""
        document = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def to_text(self) -> str:
        """Return the text of the file."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def is_exported(folder: Path) -> bool:
    """Return whether `folder` is an exported dataset."""
    return (folder / MANIFEST_NAME).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of `folder`; raises `DataError` where it is damaged or was changed by hand."""
    path = folder / MANIFEST_NAME
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise DataError(
            f"{path} is no manifest: {place}: {first['msg']}; export the dataset again"
        ) from error
    if manifest.computed_digest() != manifest.digest:
        raise DataError(f"{path} was changed after the export: correct the labels and export again")
    return manifest


def read_exported(folder: Path) -> list[Sample]:
    """Read the images of an exported dataset as its manifest divides them.

    Raises `DataError` where manifest, images and masks do not fit together, and where the holdout leaks: a
    group or an image on both sides of the split.
    """
    manifest = read_manifest(folder)
    _refuse_leaks(manifest, folder)
    named = {image.file: image for image in manifest.images}
    found = {
        str(path.relative_to(folder))
        for kind in folder.iterdir()
        if kind.is_dir() and kind.name != "masks" and not is_leftover(kind.name)
        for path in find_images(kind, recursive=True).images
    }
    if strange := sorted(found - set(named)):
        raise DataError(
            f"{folder / strange[0]} is not in the manifest: add images by labels, and export again"
        )
    samples = []
    for image in manifest.images:
        sample = Sample(
            folder / image.file,
            folder.name,
            image.file.split("/", 1)[0],
            image.answer == "defect",
            image.split,
            None if image.mask is None else folder / image.mask,
            group=image.group,
        )
        if pixel_hash(load_image(sample)) != image.pixels:
            raise DataError(f"{sample.path} is not the image that the manifest names: export again")
        if image.mask is not None and _file_hash(folder / image.mask) != image.mask_sha256:
            raise DataError(f"{sample.mask} is not the mask that the manifest names: export again")
        samples.append(sample)
    return samples


def _refuse_leaks(manifest: Manifest, folder: Path) -> None:
    for name in ("group", "pixels"):
        sides = [
            {getattr(one, name) for one in manifest.images if one.split == side} for side in ("Train", "Test")
        ]
        if both := sorted(sides[0] & sides[1]):
            what = "group" if name == "group" else "image"
            raise DataError(
                f"the holdout of {folder} leaks: {what} {both[0]} is in Train and in Test; "
                "export the dataset again"
            )


def _file_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"the mask {path} cannot be read: {error.strerror or error}") from error
