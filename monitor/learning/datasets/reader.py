"""Read samples from the folders and classes that a user names."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monitor.errors import DataError, printable
from monitor.imaging.folders import is_leftover, summarise_paths
from monitor.learning.datasets.dagm import (
    is_competition_class,
    is_development_class,
    read_competition_class,
    read_development_class,
)
from monitor.learning.datasets.fingerprint import group_keys, image_hash
from monitor.learning.datasets.folders import (
    FolderLayout,
    is_folder_class,
    read_folder_class,
    read_kinds,
)
from monitor.learning.datasets.manifest import is_exported, read_exported
from monitor.learning.datasets.near_duplicates import thumbnail
from monitor.learning.datasets.sample import Sample, Split, load_image
from monitor.learning.datasets.split import stratified_split

logger = logging.getLogger(__name__)


def read_samples(
    roots: Sequence[Path],
    classes: Sequence[str] = (),
    *,
    split: Split | None = None,
    layout: FolderLayout = FolderLayout(),  # noqa: B008 (frozen)
    test_share: float = 0.0,
    seed: int = 0,
    group: str | None = None,
    bit_depth: int | None = None,
) -> list[Sample]:
    """Find every class of surface under `roots` (those named in `classes`, or all) and read its samples.

    A root may also be a class itself, in the layout of folders. `split` selects one part. Undivided data, and
    a class with a `Train` part alone, are all `Train`, unless `test_share` (0..1) sets a part aside as
    `Test`, by `seed` and pixels alone, or by the `group` that a regular expression finds in file names. Logs
    every entry that is not used, but for what platforms leave behind. Raises `DataError` for a root or class
    that does not exist, exists twice, or lacks good or defective images. `bit_depth` as in `Sample`.
    """
    samples: list[Sample] = []
    for folder in _class_folders(roots, classes, layout):
        found = [replace(sample, bit_depth=bit_depth) for sample in _read_class(folder, layout)]
        parts = {sample.split for sample in found}
        if None in parts or (test_share and "Test" not in parts):
            found = _divided(found, test_share, seed, group)
        if split is not None:
            found = [sample for sample in found if sample.split == split]
        _refuse_one_sided(found, folder, split)
        samples += found
    return samples


def read_rejects(root: Path) -> list[Sample]:
    """Read a set of known rejects: classes as in `read_samples`, or folders of kinds of defects alone.

    Good images may be missing. Raises `DataError` where there is no defective image.
    """
    layout, root = FolderLayout(), root.resolve()
    try:
        inside = sorted(path for path in root.iterdir() if path.is_dir())
        if any(_is_class(path, layout) for path in (root, *inside)):
            samples = [it for each in _class_folders([root], (), layout) for it in _read_class(each, layout)]
        else:
            samples = read_kinds(root, root, layout, None)
    except OSError as error:
        raise DataError(f"the set {root} cannot be read: {error.strerror or error}") from error
    if not any(sample.defective for sample in samples):
        raise DataError(
            f"the set {root} holds no known reject: put images into folders named after their kind of defect"
        )
    return samples


def _class_folders(roots: Sequence[Path], classes: Sequence[str], layout: FolderLayout) -> list[Path]:
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise DataError(f"class {twice[0]} is named twice")
    found: list[Path] = []
    for root in roots:
        if not root.is_dir():
            raise DataError(f"the data folder {root} does not exist")
        if _is_class(root, layout):
            found.append(root.resolve())
        else:
            inside = sorted(path for path in root.iterdir() if not is_leftover(path.name))
            classes_inside = [path for path in inside if path.is_dir() and _is_class(path, layout)]
            defects = {path.with_name(f"{path.name}_def") for path in classes_inside}
            unused = [path for path in inside if path not in classes_inside and path not in defects]
            if classes_inside and unused:
                logger.warning(
                    "not used in %s: %s", printable(root), summarise_paths(unused, "other entries")
                )
            found += classes_inside
    known = Counter(folder.name for folder in found)
    wanted = [folder for folder in found if not classes or folder.name in classes]
    repeated = [folder.name for folder in wanted if known[folder.name] > 1]
    if repeated:
        places = " and ".join(str(folder) for folder in found if folder.name == repeated[0])
        raise DataError(f"two classes are named {repeated[0]}: {places}")
    for name in classes:
        if name not in known:
            where = ", ".join(str(root) for root in roots)
            raise DataError(
                f"no class {name} in {where}: {_there(known)} (a class is a folder with Train/Label or "
                f"Test/Label in it, one with ..._def beside it, or one with {layout.good}/ in it)"
            )
    if not wanted:
        raise DataError(
            f"no class of surface in {', '.join(str(root) for root in roots)}: expected ClassN/Train/Label, "
            f"ClassN beside ClassN_def, or {layout.good}/ beside folders of defects "
            f"(also in train/ and test/)"
        )
    return wanted


def _there(known: Counter[str]) -> str:
    return f"there are {', '.join(sorted(known))}" if known else "there is none"


def _is_class(folder: Path, layout: FolderLayout) -> bool:
    return (
        is_exported(folder)
        or is_competition_class(folder)
        or is_development_class(folder)
        or is_folder_class(folder, layout)
    ) and not is_leftover(folder.name)


def _read_class(folder: Path, layout: FolderLayout) -> list[Sample]:
    try:
        if is_exported(folder):
            return read_exported(folder)
        if is_competition_class(folder):
            return read_competition_class(folder)
        if is_development_class(folder):
            return read_development_class(folder)
        return read_folder_class(folder, layout)
    except OSError as error:
        raise DataError(f"the class {folder} cannot be read: {error}") from error


def _divided(samples: list[Sample], test_share: float, seed: int, group: str | None) -> list[Sample]:
    if test_share == 0:
        return [replace(sample, split="Train") for sample in samples]
    hashes, thumbnails = [], []
    for sample in samples:
        image = load_image(sample)
        hashes.append(image_hash(image))
        thumbnails.append(thumbnail(image))
    keys = group_keys(samples, hashes, group, thumbnails)
    train, test = stratified_split(samples, test_share, f"test/{seed}", keys)
    return [replace(sample, split="Train") for sample in train] + [
        replace(sample, split="Test") for sample in test
    ]


def _refuse_one_sided(samples: Sequence[Sample], folder: Path, split: Split | None) -> None:
    part = f"'s {split} part" if split else ""
    if not samples:
        hint = "; --test-share sets a part of undivided data aside" if split == "Test" else ""
        raise DataError(f"class {folder}{part} is empty{hint}")
    defective = sum(sample.defective for sample in samples)
    if defective == 0:
        raise DataError(f"class {folder}{part} has no defective image")
    if defective == len(samples):
        raise DataError(f"class {folder}{part} has no good image")
