"""Photographs sorted into folders: one of good parts, one for each kind of defect."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from monitor.errors import DataError, ImageError, UsageError, printable
from monitor.imaging.files import IMAGE_SUFFIXES, read_image
from monitor.imaging.folders import find_images, is_leftover, summarise_paths
from monitor.learning.datasets.sample import Sample, Split

logger = logging.getLogger(__name__)

_MVTEC_MASKS = "ground_truth"

MASK_ENDINGS = (
    "_mask",
    "-mask",
    ".mask",
    "_label",
    "-label",
    "_gt",
    ".label",
    "_seg",
    "_segmentation",
    "_groundtruth",
)
"""How names of masks usually end, before the suffix."""


_MASK_BEGINNINGS = ("mask_", "mask-", "label_", "gt_", "seg_")
"""How names of masks begin that do not end in one of these words."""


_SUFFIXES = sorted(IMAGE_SUFFIXES, key=lambda suffix: (suffix != ".png", suffix))


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """How folders and masks are named.

    `good` is the folder of good images, every other folder beside it a kind of defect; images may lie deeper
    inside. The mask of `scratch/7.jpg` is `7.*` or `7_mask.*` in `scratch/masks` or `masks/scratch` (the word
    is `masks`), or in `ground_truth/scratch`; `mask_7.*` is found there and beside its image. With
    `mask_suffix` any other mask may lie beside its image, too: `_mask.png` pairs it with
    `scratch/7_mask.png`, `_mask` with `7_mask.*`, `.png` or `png` with `7.png`.
    Capitals make no difference. Raises UsageError for a `mask_suffix` that is none.
    """

    good: str = "good"
    masks: str = "masks"
    mask_suffix: str | None = None

    def __post_init__(self) -> None:
        _ = self.mask_ending

    @property
    def mask_ending(self) -> tuple[str, str | None] | None:
        """The end of a mask's stem and its suffix (None: any), in lower case; None without `mask_suffix`."""
        if self.mask_suffix is None:
            return None
        text = self.mask_suffix.strip().removeprefix("*").lower()
        if f".{text}" in IMAGE_SUFFIXES:
            text = f".{text}"
        if text in IMAGE_SUFFIXES:
            return "", text
        stem, dot, extension = text.rpartition(".")
        if dot and f".{extension}" in IMAGE_SUFFIXES:
            found: tuple[str, str | None] = stem, f".{extension}"
        else:
            found = text, None
        if not found[0] or "/" in text or (dot and found[1] is None and f".{extension}" not in MASK_ENDINGS):
            raise UsageError(
                f"--mask-suffix {printable(self.mask_suffix)!r} is no ending of an image's name; "
                "give one such as _mask.png, _mask or .png"
            )
        return found

    def is_mask(self, path: Path) -> bool:
        """Return whether the file at `path` is a mask by the end of its name."""
        if self.mask_ending is None:
            return False
        stem, suffix = self.mask_ending
        name = path.stem.lower()
        return name.endswith(stem) and name != stem and suffix in (None, path.suffix.lower())


def is_folder_class(folder: Path, layout: FolderLayout) -> bool:
    """Return whether `folder` holds a folder of good images, itself or in `train` or `test` (MVTec)."""
    return any((folder / part / layout.good).is_dir() for part in ("", "train", "test"))


def read_folder_class(folder: Path, layout: FolderLayout) -> list[Sample]:
    """Read the images below `folder`; raises DataError for an empty folder of a kind.

    In MVTec's layout, kinds lie in `train` and `test`. Where `train` has good images alone, as MVTec's, both
    parts together count as undivided.
    """
    if (folder / layout.good).is_dir():
        return read_kinds(folder, folder, layout, None)
    train = read_kinds(folder / "train", folder, layout, "Train")
    test = read_kinds(folder / "test", folder, layout, "Test")
    if any(sample.defective for sample in train):
        return train + test
    return [
        Sample(sample.path, sample.surface, sample.category, sample.defective, None, sample.mask)
        for sample in train + test
    ]


def read_kinds(place: Path, surface: Path, layout: FolderLayout, split: Split | None) -> list[Sample]:
    """Read the folders of kinds in `place`, good ones or not, of the class in the folder `surface`."""
    if not place.is_dir():
        return []
    entries = sorted(path for path in place.iterdir() if not is_leftover(path.name))
    kinds = [path for path in entries if path.is_dir() and path.name not in (layout.masks, _MVTEC_MASKS)]
    files = [path for path in entries if not path.is_dir()]
    if files:
        logger.warning("not used in %s: %s", printable(place), summarise_paths(files, "files outside a kind"))
    samples = []
    for kind in kinds:
        found = list(_read_kind(kind, surface, layout, split))
        if not found:
            raise DataError(f"{kind} holds no images{_only_masks(kind, layout)}")
        samples += found
    return samples


def _only_masks(kind: Path, layout: FolderLayout) -> str:
    masks = sum(layout.is_mask(path) for path in find_images(kind, recursive=True).images)
    return f": all {masks} end in {layout.mask_suffix} and count as masks" if masks else ""


def _read_kind(kind: Path, surface: Path, layout: FolderLayout, split: Split | None) -> Iterator[Sample]:
    found = find_images(kind, recursive=True)
    inside = [path for path in found.images if not _in_mask_folder(path, kind, layout)]
    by_beginning = _pair_by_beginning(inside)
    prefixed = set(by_beginning.values())
    images = [path for path in inside if path not in prefixed and not layout.is_mask(path)]
    if found.others:
        logger.warning("not used in %s: %s", printable(kind), found.others_summary)
    _refuse_unnamed_masks(images, kind)
    defective = kind.name != layout.good
    masks = _MaskFinder(kind, surface, layout, {str(path).lower(): path for path in inside}, by_beginning)
    used = set()
    for path in images:
        mask = masks.find(path) if defective else None
        used.add(mask)
        yield Sample(path, printable(surface.name), printable(kind.name), defective, split, mask)
    orphans = [path for path in inside if layout.is_mask(path) and path not in used]
    if orphans:
        logger.warning(
            "not used in %s: %s", printable(kind), summarise_paths(orphans, "masks without an image")
        )


def _in_mask_folder(path: Path, kind: Path, layout: FolderLayout) -> bool:
    return bool({layout.masks, _MVTEC_MASKS} & set(path.relative_to(kind).parts[:-1]))


@dataclass(slots=True)
class _MaskFinder:
    """Finds the masks of a kind's images.

    `beside` are the kind's files by their path in lower case; `by_beginning` are masks such as `mask_7.png`,
    which lie beside their images.
    """

    kind: Path
    surface: Path
    layout: FolderLayout
    beside: dict[str, Path]
    by_beginning: dict[Path, Path]
    _listed: dict[Path, dict[str, Path]] = field(default_factory=dict)

    def find(self, path: Path) -> Path | None:
        """Return the mask of the image at `path`, if it has one."""
        if path in self.by_beginning:
            return self.by_beginning[path]
        ending, only = self.layout.mask_ending or ("", None)
        if self.layout.mask_ending is not None:
            for suffix in [only] if only else _SUFFIXES:
                mask = self.beside.get(f"{path.parent}/{path.stem}{ending}{suffix}".lower())
                if mask is not None and mask != path:
                    return mask
        names = [
            f"{path.stem}{end}{suffix}".lower()
            for end in dict.fromkeys((ending, "", *MASK_ENDINGS))
            for suffix in _SUFFIXES
        ]
        names += [f"{start}{path.stem}{suffix}".lower() for start in _MASK_BEGINNINGS for suffix in _SUFFIXES]
        inside = path.relative_to(self.kind).parent
        for folder in (
            path.parent / self.layout.masks,
            self.kind.parent / self.layout.masks / self.kind.name / inside,
            path.parent / _MVTEC_MASKS,
            self.surface / _MVTEC_MASKS / self.kind.name / inside,
        ):
            files = self._files(folder)
            if found := next((files[name] for name in names if name in files), None):
                return found
        return None

    def _files(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            images = find_images(folder).images if folder.is_dir() else ()
            self._listed[folder] = {path.name.lower(): path for path in images}
        return self._listed[folder]


def _pair_by_beginning(images: Sequence[Path]) -> dict[Path, Path]:
    """Return the mask of each image beside which a file lies whose name is `mask_` and the image's."""
    stems = {str(path.with_suffix("")).lower(): path for path in images}
    return {
        image: mask
        for mask in images
        for start in _MASK_BEGINNINGS
        if mask.stem.lower().startswith(start)
        and (image := stems.get(f"{mask.parent}/{mask.stem[len(start) :]}".lower())) is not None
    }


def _refuse_unnamed_masks(images: Sequence[Path], kind: Path) -> None:
    """Refuse masks that would count as photographs because `--mask-suffix` is missing or another."""
    stems = {str(path.with_suffix("")).lower(): path for path in images}
    for ending in MASK_ENDINGS:
        masks = [
            path
            for path in images
            if path.stem.lower().endswith(ending)
            and str(path.with_suffix("")).lower().removesuffix(ending) in stems
        ]
        if masks:
            raise DataError(
                f"{len(masks)} files in {kind} look like masks, such as {masks[0].name}: "
                f"give --mask-suffix {ending}{masks[0].suffix}"
            )
    pair = next((path for path in images if stems[str(path.with_suffix("")).lower()] != path), None)
    if pair is not None:
        for path in (pair, stems[str(pair.with_suffix("")).lower()]):
            if path.suffix.lower() not in {".jpg", ".jpeg"} and _has_two_levels(path):
                raise DataError(
                    f"{path.name} in {kind} looks like the mask of a file of the same name: "
                    f"give --mask-suffix {path.suffix}"
                )


def _has_two_levels(path: Path) -> bool:
    try:
        return len(np.unique(read_image(path))) <= 2
    except ImageError:
        return False  # reported by the audit
