"""Find the image files of a folder or pattern: one rule for watching, training, evaluation and explaining."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import printable
from monitor.imaging.files import IMAGE_SUFFIXES

_LEFTOVERS = frozenset(
    {
        "__macosx",
        "__pycache__",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
    }
)
"""Names, in lower case, that macOS, Windows and network storage leave in folders."""

_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The image files of a place, in natural order, and the other entries of it that are not used."""

    images: tuple[Path, ...]
    others: tuple[Path, ...] = ()

    @property
    def others_summary(self) -> str | None:
        """Number and names of the entries that are not used, for a message; None where there are none."""
        return summarise_paths(self.others, "other entries") if self.others else None


def summarise_paths(paths: Iterable[Path], what: str) -> str:
    """Return `3 <what>: a.txt, b.txt, c.txt`; of many paths the first five."""
    every = list(paths)
    names = ", ".join(printable(path.name) for path in every[:_MAX_NAMED])
    return f"{len(every)} {what}: {names}{', …' if len(every) > _MAX_NAMED else ''}"


def is_leftover(name: str) -> bool:
    """Return whether a file or folder of this name was left by a platform's tools.

    True for hidden names (`.DS_Store`, `._1.png`, `.ipynb_checkpoints`), `__MACOSX`, `@eaDir`, `Thumbs.db`,
    `desktop.ini` and the like.
    """
    return name.startswith(".") or name.lower() in _LEFTOVERS


def is_image_name(path: Path) -> bool:
    """Return whether the suffix of `path` is that of an image, in capitals or not."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural_sort_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort `2.png` before `10.png`; names that differ in leading zeros alone keep one order."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), "") if odd % 2 else (-1, part) for odd, part in enumerate(parts)], str(path)


def find_images(location: str | Path, *, recursive: bool = False) -> FoundFiles:
    """Return the images of a folder (by suffix), one file of any name, or the files that a pattern matches.

    A file or folder that exists under the name is taken before the name counts as a pattern. What platforms
    leave behind is ignored. `recursive` includes the folders inside. Raises OSError where a folder cannot be
    listed.
    """
    paths = expand_pattern(location)
    if len(paths) == 1 and paths[0].is_dir():
        return _sorted(_walk(paths[0]) if recursive else paths[0].iterdir())
    if len(paths) == 1:
        return FoundFiles(tuple(paths))
    files = [path for path in paths if not is_leftover(path.name)]
    if not any(is_image_name(path) for path in files):  # a pattern for files without the usual suffixes
        return FoundFiles(tuple(sorted((path for path in files if _is_readable(path)), key=natural_sort_key)))
    return _sorted(files)


def expand_pattern(location: str | Path) -> list[Path]:
    """Return the path `location` where it exists, else what it matches as a pattern (`*`, `?`, `[…]`, `**`).

    Leading folders that exist are taken literally, too: `lot [7]/*.png` lists the folder `lot [7]`.
    """
    path = Path(location)
    if os.path.lexists(path):  # False, where Path raises, for a name that is too long
        return [path]
    parts = path.parts
    literal = next((n for n in range(len(parts), 0, -1) if os.path.lexists(Path(*parts[:n]))), 0)
    prefix = [glob.escape(str(Path(*parts[:literal])))] if literal else []
    found = glob.glob(os.path.join(*prefix, *parts[literal:]) or ".", recursive=True)  # noqa: PTH118, PTH207
    return [Path(name) for name in found]


def _is_readable(path: Path) -> bool:
    """Return whether `path` is a file or a broken link (reported when read), not a folder, pipe or device."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _sorted(entries: Iterable[Path]) -> FoundFiles:
    images: list[Path] = []
    others: list[Path] = []
    for path in entries:
        if not is_leftover(path.name):
            (images if is_image_name(path) and _is_readable(path) else others).append(path)
    return FoundFiles(
        tuple(sorted(images, key=natural_sort_key)), tuple(sorted(others, key=natural_sort_key))
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, through links too, each folder once."""
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_leftover(name))
        yield from (Path(parent, name) for name in files)


def _raise(error: OSError) -> None:
    raise error
