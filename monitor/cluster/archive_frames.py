"""Which frames an archive holds, and what is known of each: its label, or the verdict of the line.

Labels come from names and DAGM's own tables alone, so a bucket is listed as a folder is, without reading an
image. The layouts are those of `learning.datasets` and of the archiver.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from monitor.capture.sources.address import redact_url
from monitor.errors import DataError
from monitor.imaging.folders import is_image_name, is_leftover, natural_sort_key
from monitor.learning.datasets.folders import MASK_ENDINGS

logger = logging.getLogger(__name__)

_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_MASK_FOLDERS = frozenset({"masks", "ground_truth", "label"})


@dataclass(frozen=True, slots=True)
class RecordedVerdict:
    """What the line decided: the `score` (0..1) of `model` (its SHA-256), flagged from `threshold` on."""

    event: str
    model: str
    score: float
    threshold: float


@dataclass(frozen=True, slots=True)
class ArchivedFrame:
    """An image of an archive: `path` below its root, `size` in bytes, `modified` in ns since 1970.

    `defective` is its label, None where it has none; `camera` and `recorded` are known from its event.
    """

    path: str
    size: int
    modified: int
    defective: bool | None = None
    camera: str | None = None
    recorded: RecordedVerdict | None = None


@dataclass(frozen=True, slots=True)
class ArchiveListing:
    """The frames of an archive in natural order of their paths, and its events without a raw frame."""

    frames: tuple[ArchivedFrame, ...]
    events_without_frame: int = 0


@dataclass(frozen=True, slots=True)
class _Files:
    """All files below the root of an archive, by path."""

    filesystem: FileSystem
    root: str
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def lines(self, path: str) -> list[str]:
        with self.filesystem.open_input_stream(f"{self.root}/{path}") as stream:
            return bytes(stream.read()).decode("utf-8-sig", "replace").splitlines()


def open_location(location: str) -> tuple[FileSystem, str]:
    """Return the file system of a folder or an `s3://` address, and the path in it; raises `DataError`."""
    if "://" not in location:
        return LocalFileSystem(), str(Path(location).resolve())
    try:
        filesystem, root = FileSystem.from_uri(location)
    except (OSError, ValueError) as error:
        raise archive_failure(location, "opened", error) from error
    return filesystem, root.rstrip("/")


def archive_failure(location: str, done: str, error: Exception) -> DataError:
    """Return the error for an archive that cannot be `done` (read, opened), without keys of an address."""
    shown = redact_url(location)
    return DataError(f"the archive {shown} cannot be {done}: {str(error).replace(location, shown)}")


def list_archive(location: str, *, good: str = "good") -> ArchiveListing:
    """List the frames below `location`; `good` is the folder of good images beside those of defects.

    Of the archiver's folders only raw frames count: annotated ones have boxes drawn into them. Raises
    `DataError` where the archive cannot be read or holds no frame.
    """
    try:
        files = _list_files(location)
        days = [path for path in files.sizes if PurePosixPath(path).match(f"{_DAY}/events.jsonl")]
        listing = _list_days(files, days) if days else _list_images(files, good)
    except OSError as error:
        raise archive_failure(location, "read", error) from error
    if not listing.frames and listing.events_without_frame:
        raise DataError(
            f"the archive {redact_url(location)} holds {listing.events_without_frame} events and no raw "
            "frame: set redis.raw_frames = true, since boxes are drawn into annotated frames"
        )
    if not listing.frames:
        raise DataError(f"the archive {redact_url(location)} holds no image")
    return listing


def _list_files(location: str) -> _Files:
    filesystem, root = open_location(location)
    if filesystem.get_file_info(root).type != FileType.Directory:
        raise DataError(f"the archive {redact_url(location)} does not exist")
    found = {
        info.path.removeprefix(f"{root}/"): (info.size, info.mtime_ns)
        for info in filesystem.get_file_info(FileSelector(root, recursive=True))
        if info.type == FileType.File
    }
    visible = {path: it for path, it in found.items() if not any(map(is_leftover, path.split("/")))}
    return _Files(filesystem, root, visible)


def _list_days(files: _Files, days: Iterable[str]) -> ArchiveListing:
    frames: list[ArchivedFrame] = []
    missing = 0
    for day in sorted(days):
        seen: set[str] = set()
        for line in files.lines(day):
            event = _read_event(line)
            if event is None or event[1].event in seen:
                continue
            camera, recorded = event
            seen.add(recorded.event)
            path = f"{day.removesuffix('events.jsonl')}raw/{recorded.event}.jpg"
            if path in files.sizes:
                frames.append(ArchivedFrame(path, *files.sizes[path], camera=camera, recorded=recorded))
            else:
                missing += 1
    return ArchiveListing(tuple(sorted(frames, key=_order)), missing)


def _read_event(line: str) -> tuple[str, RecordedVerdict] | None:
    """Read what is needed of an event; None for a line that a crash cut off."""
    try:
        event = json.loads(line)
        return str(event["camera"]), RecordedVerdict(
            str(event["id"]), str(event["model"]["sha256"]), float(event["score"]), float(event["threshold"])
        )
    except (ValueError, KeyError, TypeError):
        return None


def _list_images(files: _Files, good: str) -> ArchiveListing:
    labels = label_paths(files.sizes, good)
    for path in files.sizes:
        table = PurePosixPath(path)
        if (table.parent.name, table.name) == ("Label", "Labels.txt"):
            labels |= _competition_labels(str(table.parent.parent), files.lines(path), labels)
    frames = [ArchivedFrame(path, *files.sizes[path], label) for path, label in labels.items()]
    return ArchiveListing(tuple(sorted(frames, key=_order)))


def _competition_labels(folder: str, rows: Iterable[str], known: Iterable[str]) -> dict[str, bool | None]:
    """Read DAGM's `Label/Labels.txt`, whose first line holds a version number."""
    by_name = {path.lower(): path for path in known}
    labels: dict[str, bool | None] = {}
    for fields in (row.split("\t") for row in list(rows)[1:]):
        if len(fields) > 2 and fields[1] in ("0", "1"):
            path = by_name.get(str(PurePosixPath(folder, fields[2].strip())).lower())
            if path is not None:
                labels[path] = fields[1] == "1"
    return labels


def label_paths(paths: Iterable[str], good: str = "good") -> dict[str, bool | None]:
    """Return the images among `paths`, without masks, and the label that their folder gives them.

    A folder `NAME` beside `NAME_def` is DAGM's development layout; what lies in a folder `good` is good, and
    what lies beside that folder, or beside one in a neighbouring `train` or `test`, is defective.
    """
    images = [path for path in paths if is_image_name(Path(path))]
    stems: dict[str, set[str]] = defaultdict(set)
    folders: set[str] = set()
    for path in images:
        pure = PurePosixPath(path)
        stems[str(pure.parent)].add(pure.stem.lower())
        folders |= {str(parent) for parent in pure.parents}
    with_good = {str(_surface(PurePosixPath(it))) for it in folders if PurePosixPath(it).name == good}
    return {
        path: _label(PurePosixPath(path), folders, with_good, good)
        for path in images
        if not _is_mask(PurePosixPath(path), stems)
    }


def _is_mask(path: PurePosixPath, stems: Mapping[str, set[str]]) -> bool:
    if any(part.lower() in _MASK_FOLDERS for part in path.parts[:-1]):
        return True
    stem, beside = path.stem.lower(), stems[str(path.parent)]
    return any(stem.endswith(end) and stem.removesuffix(end) in beside for end in MASK_ENDINGS)


def _label(path: PurePosixPath, folders: set[str], with_good: set[str], good: str) -> bool | None:
    if good in path.parts[:-1]:
        return False
    for folder in _folders_above(path):
        if str(_surface(folder)) in with_good:
            return True
        if folder.name.endswith("_def") and str(folder.with_name(folder.name[:-4])) in folders:
            return True
        if folder.name and str(folder.with_name(f"{folder.name}_def")) in folders:
            return False
    return None


def _folders_above(path: PurePosixPath) -> Iterator[PurePosixPath]:
    return (folder for folder in path.parents if folder.name)


def _surface(folder: PurePosixPath) -> PurePosixPath:
    """Return the folder of the surface to which a folder of one kind belongs."""
    parent = folder.parent
    return parent.parent if parent.name.lower() in ("train", "test") else parent


def _order(frame: ArchivedFrame) -> tuple[list[tuple[int, str]], str]:
    return natural_sort_key(Path(frame.path))
