"""A folder or glob of pictures as a source."""

import contextlib
import glob
import re
from collections.abc import Iterator
from pathlib import Path

import av
import av.error

from monitor.capture.sources.decoder import DecoderOptions, VideoDecoder
from monitor.errors import SourceError
from monitor.imaging.files import IMAGE_SUFFIXES, read_image
from monitor.records import Image


def natural_sort_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts `2.png` before `10.png`; names equal but for leading zeros keep one order."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], str(path)


def list_images(location: str) -> list[Path]:
    """The pictures of a folder by their endings, or all files that a path or glob names; sorted naturally."""
    root = Path(location)
    if root.is_dir():
        found = [path for path in root.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    elif root.exists():
        found = [root]
    else:
        found = [Path(name) for name in glob.glob(location, recursive=True)]  # noqa: PTH207 (absolute patterns too)
    return sorted((path for path in found if path.is_file()), key=natural_sort_key)


class ImageFolderSource:
    """The pictures of a folder or glob in turn; with `loop`, from the start again, newly listed."""

    def __init__(
        self, location: str, *, interval: float | None, loop: bool, bit_depth: int | None = None
    ) -> None:
        self.live = loop
        self.frame_interval = interval
        self._location = location
        self._bit_depth = bit_depth
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
        image = read_image(self._waiting.pop(), self._bit_depth)
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


class VideoFileSource:
    """A video file, read as fast as it is asked for; with `loop`, from the start again after the end.

    `interval` (seconds) is what the reader should keep; with `own_rate` and no `interval` it is the file's
    own.
    """

    def __init__(
        self,
        path: Path,
        *,
        interval: float | None,
        own_rate: bool,
        loop: bool,
        bit_depth: int | None = None,
    ) -> None:
        self.live = loop
        self._path = path
        self._decoding = DecoderOptions(bit_depth=bit_depth)
        self._video = self._open()
        self._found = False
        rate = self._video.rate if own_rate else None
        self.frame_interval = interval or (1 / rate if rate else None)

    @property
    def codec(self) -> str:
        """How the pictures are coded, such as `h264`."""
        return self._video.codec

    def read(self) -> Image | None:
        """The next picture, None at the end."""
        with self._translate_errors():
            image = self._video.read()
            if image is None and not self._found:
                raise SourceError("no-video", f"{self._path}: not one picture can be read from it")
            if image is None and self.live:
                self._video.close()
                self._video, self._found = self._open(), False
                return self.read()
            self._found = True
        return image

    def close(self) -> None:
        """Closes the file."""
        self._video.close()

    def _open(self) -> VideoDecoder:
        with self._translate_errors():
            if self._path.stat().st_size == 0:
                raise SourceError("no-video", f"{self._path}: the file is empty (0 bytes)")
            # With "file:" no name of a file is taken for a protocol of FFmpeg's.
            return VideoDecoder(f"file:{self._path}", str(self._path), {}, decoding=self._decoding)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FileNotFoundError, FileNotFoundError) as error:
            raise SourceError("not-found", f"{self._path}: no such file") from error
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            raise SourceError(
                "codec", f"{self._path}: neither a picture nor a video that can be read"
            ) from error
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError("gone", f"{self._path}: cannot be read: {error.strerror}") from error
