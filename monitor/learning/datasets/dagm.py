"""The two layouts in which the DAGM 2007 data set is distributed."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from monitor.errors import DataError, UsageError, printable
from monitor.imaging.ellipse import Ellipse
from monitor.imaging.folders import find_images, summarise_paths
from monitor.learning.datasets.sample import Sample, Split

logger = logging.getLogger(__name__)

SPLITS: tuple[Split, ...] = get_args(Split)


def is_competition_class(folder: Path) -> bool:
    """Return whether `folder` is a class in the competition's layout."""
    return any((folder / split / "Label").is_dir() for split in SPLITS)


def read_competition_class(folder: Path) -> list[Sample]:
    """Read `ClassN/Train|Test/NNNN.PNG`, labelled by `Label/Labels.txt` and `Label/NNNN_label.PNG`.

    Raises `DataError` for a row without its image, an image without a row, or a row that makes no sense.
    """
    samples: list[Sample] = []
    for split in SPLITS:
        if (folder / split).is_dir():
            samples += _read_competition_split(folder / split, folder.name, split)
    return samples


def _read_competition_split(folder: Path, surface: str, split: Split) -> list[Sample]:
    table = folder / "Label" / "Labels.txt"
    # The first line holds a version number.
    samples = []
    for place, fields in _rows(table, skip=1):
        if len(fields) < 3 or fields[1] not in ("0", "1"):
            raise DataError(f"{place} is not a label: number, 0 or 1, image, 0, mask, separated by tabs")
        path = _existing(folder / fields[2], place)
        defective = fields[1] == "1"
        mask = None
        if defective and len(fields) > 4 and fields[4] not in ("", "0"):
            mask = _existing(folder / "Label" / fields[4], place)
        samples.append(Sample(path, surface, "defect" if defective else "good", defective, split, mask))
    _refuse_unnamed(folder, {sample.path.name for sample in samples}, table)
    return samples


def is_development_class(folder: Path) -> bool:
    """Return whether `folder` is a class of good images in the development layout."""
    return folder.with_name(f"{folder.name}_def").is_dir()


def read_development_class(folder: Path) -> list[Sample]:
    """Read `ClassN/*.png` (good) and `ClassN_def/*.png`, whose `labels.txt` gives an ellipse each.

    A row: number, semi-axis 1, semi-axis 2, rotation in radians with y pointing down, centre x and y counted
    from 1. Raises `DataError` as `read_competition_class` does.
    """
    good = [Sample(path, folder.name, "good", False) for path in _pngs(folder)]
    defects = folder.with_name(f"{folder.name}_def")
    table = defects / "labels.txt"
    files = {path.stem: path for path in _pngs(defects)}
    defective = []
    for place, fields in _rows(table):
        try:
            first, second, angle, x, y = (float(field) for field in fields[1:6])
            ellipse = Ellipse(x - 1, y - 1, first, second, angle)
        except (ValueError, UsageError) as error:
            raise DataError(
                f"{place} is not a label: number, two semi-axes, rotation, centre x, y"
            ) from error
        path = files.get(fields[0]) or _existing(defects / f"{fields[0]}.png", place)
        defective.append(Sample(path, folder.name, "defect", True, None, ellipse))
    _refuse_unnamed(defects, {sample.path.name for sample in defective}, table)
    return good + defective


def _pngs(folder: Path) -> list[Path]:
    """Return the images of a part, and log its other files."""
    found = find_images(folder)
    others = [path for path in found.others if not path.is_dir() and path.suffix.lower() != ".txt"]
    if others:
        logger.warning("not used in %s: %s", printable(folder), summarise_paths(others, "other entries"))
    return list(found.images)


def _rows(table: Path, skip: int = 0) -> Iterator[tuple[str, list[str]]]:
    try:
        lines = table.read_text("utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"the labels {table} are missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the labels {table} cannot be read: {error}") from error
    for number, line in enumerate(lines[skip:], start=skip + 1):
        if line.strip():
            yield f"{table}, row {number},", [field.strip() for field in line.split("\t")]


def _existing(path: Path, place: str) -> Path:
    """Return `path`, or the file of the same name in other capitals."""
    if path.is_file():
        return path
    same = [other for other in path.parent.glob("*") if other.name.lower() == path.name.lower()]
    if len(same) != 1:
        raise DataError(f"{place} names {path.name}, which is not in {path.parent}")
    return same[0]


def _refuse_unnamed(folder: Path, named: set[str], table: Path) -> None:
    unnamed = [path.name for path in _pngs(folder) if path.name not in named]
    if unnamed:
        others = f" nor of {len(unnamed) - 1} more" if len(unnamed) > 1 else ""
        raise DataError(f"{table} has no row of {unnamed[0]}{others}, which lie in {folder}")
