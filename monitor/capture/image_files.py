"""A folder or glob of pictures as a source."""

import glob
import re
from pathlib import Path

from monitor.capture.image_file import SUFFIXES, read_image
from monitor.errors import SourceError
from monitor.records import Image


def natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts `2.png` before `10.png`; names equal but for leading zeros keep one order."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], str(path)


def list_images(location: str) -> list[Path]:
    """The pictures of a folder by their endings, or all files that a path or glob names; sorted naturally."""
    root = Path(location)
    if root.is_dir():
        found = [path for path in root.iterdir() if path.suffix.lower() in SUFFIXES]
    elif root.exists():
        found = [root]
    else:
        found = [Path(name) for name in glob.glob(location, recursive=True)]  # noqa: PTH207 (absolute patterns too)
    return sorted((path for path in found if path.is_file()), key=natural_key)


class ImageFiles:
    """The pictures of a folder or glob in turn; with `loop`, from the start again, newly listed."""

    position = None

    def __init__(self, location: str, *, interval: float | None, loop: bool) -> None:
        self.live = loop
        self.interval = interval
        self._location = location
        self._waiting = self._list()
        self._found = False

    def read(self) -> Image | None:
        """The next picture, None at the end; ImageError for a file that is none, reading goes on after it.

        Raises SourceError, where it loops, when a whole round brought no picture.
        """
        if not self._waiting:
            if not self.live:
                return None
            if not self._found:
                raise SourceError("codec", f"{self._location}: none of its files is a picture")
            self._waiting, self._found = self._list(), False
        image = read_image(self._waiting.pop())
        self._found = True
        return image

    def close(self) -> None:
        """Nothing is held open."""

    def _list(self) -> list[Path]:
        try:
            found = list_images(self._location)
        except OSError as error:
            raise SourceError("gone", f"{self._location}: cannot be listed: {error.strerror}") from error
        if not found:
            raise SourceError("not-found", f"{self._location}: no such file, or no picture in it")
        return found[::-1]
