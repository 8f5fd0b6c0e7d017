"""Photographs sorted into folders: one of good parts, one for each kind of defect."""

from dataclasses import dataclass
from pathlib import Path

from monitor.errors import DataError
from monitor.learning.datasets.sample import Sample

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """How folders are named.

    `good` is the folder of good pictures, every other folder beside it a kind of defect; pictures may lie
    deeper inside. The mask of `scratch/7.jpg` is `scratch/masks/7.*` or `masks/scratch/7.*` (the word is
    `masks`); with `mask_suffix`, such as `.png`, it is the file of that suffix beside it, `scratch/7.png`.
    """

    good: str = "good"
    masks: str = "masks"
    mask_suffix: str | None = None


def is_folder_class(folder: Path, layout: FolderLayout) -> bool:
    """Whether `folder` holds a folder of good pictures."""
    return (folder / layout.good).is_dir()


def read_folder_class(folder: Path, layout: FolderLayout) -> list[Sample]:
    """Read the pictures below `folder`; raises `DataError` for an empty folder of a kind."""
    kinds = sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name != layout.masks and not path.name.startswith(".")
    )
    samples = []
    for kind in kinds:
        found = [_sample(path, kind, layout) for path in _pictures(kind, layout)]
        if not found:
            raise DataError(f"{kind} holds no pictures")
        samples += found
    return samples


def _pictures(category: Path, layout: FolderLayout) -> list[Path]:
    def wanted(path: Path) -> bool:
        suffix = path.suffix.lower()
        inside = path.relative_to(category).parts
        return suffix in PICTURES and suffix != layout.mask_suffix and layout.masks not in inside[:-1]

    return sorted(path for path in category.rglob("*") if wanted(path))


def _sample(path: Path, kind: Path, layout: FolderLayout) -> Sample:
    defective = kind.name != layout.good
    return Sample(
        path, kind.parent.name, kind.name, defective, None, _mask(path, kind, layout) if defective else None
    )


def _mask(path: Path, kind: Path, layout: FolderLayout) -> Path | None:
    if layout.mask_suffix is not None:
        beside = path.with_suffix(layout.mask_suffix)
        return beside if beside.is_file() else None
    inside = path.relative_to(kind).parent
    for folder in (path.parent / layout.masks, kind.parent / layout.masks / kind.name / inside):
        for suffix in (path.suffix, ".png", ".PNG"):
            mask = folder / f"{path.stem}{suffix}"
            if mask.is_file():
                return mask
    return None
