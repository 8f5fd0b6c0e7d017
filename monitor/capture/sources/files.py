"""Files as a source: the images of a folder or pattern, or a video."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import av
import av.error

from monitor.capture.sources.base import NO_ORIGIN, FrameOrigin
from monitor.capture.sources.decoder import VideoDecoder
from monitor.capture.sources.packets import DecoderOptions
from monitor.errors import SourceError, printable
from monitor.imaging.files import read_image
from monitor.imaging.folders import FoundFiles, find_images
from monitor.imaging.pages import page_numbers
from monitor.records import Image

logger = logging.getLogger(__name__)


class ImageFolderSource:
    """The images of a folder or pattern in natural order; with `loop`, listed and read again at the end."""

    source_time = None
    stream_time = None

    def __init__(
        self, location: str, *, interval: float | None, loop: bool, bit_depth: int | None = None
    ) -> None:
        self.live = loop
        self.frame_interval = interval
        self.origin = NO_ORIGIN
        self._location = location
        self._bit_depth = bit_depth
        self._reported: tuple[Path, ...] = ()
        self._queue = self._list()
        self._pages: list[tuple[Path, int, str]] = []
        self._found = False

    def read(self) -> Image | None:
        """Return the next image, None at the end; ImageError for a damaged one, after which reading goes on.

        Raises SourceError, where it loops, when a whole round had no image.
        """
        if not self._queue and not self._pages:
            if not self.live:
                return None
            if not self._found:
                raise SourceError("codec", f"{self._location}: none of its files is an image")
            self._queue, self._found = self._list(), False
        if not self._pages:
            self._pages = pages_of(self._queue.pop())[::-1]
        path, page, name = self._pages.pop()
        self.origin = FrameOrigin(name)
        image = read_image(path, page=page, bit_depth=self._bit_depth)
        self._found = True
        return image

    def close(self) -> None:
        """Nothing is held open."""

    def _list(self) -> list[Path]:
        found = list_folder(self._location)
        if found.others != self._reported:
            log_others(found, self._location)
            self._reported = found.others
        if not found.images:
            others = f" ({found.others_summary})" if found.others else ""
            raise SourceError("not-found", f"{self._location}: no such file, or no image in it{others}")
        return list(found.images[::-1])


def pages_of(path: Path) -> list[tuple[Path, int, str]]:
    """Return (path, page, name) for each image of a file; of several, the name has the page from 1."""
    pages = page_numbers(path)
    if len(pages) == 1:
        return [(path, pages[0], printable(path.name))]
    return [(path, page, f"{printable(path.name)}#page={number}") for number, page in enumerate(pages, 1)]


def list_folder(location: str) -> FoundFiles:
    """Return the images of a folder or pattern; raises SourceError where it cannot be listed."""
    try:
        return find_images(location)
    except OSError as error:
        raise SourceError("gone", f"{location}: cannot be listed: {error.strerror}") from error


def log_others(found: FoundFiles, location: str) -> None:
    """Log the entries of a folder that are not inspected."""
    if found.others:
        logger.warning("not inspected in %s: %s", printable(location), found.others_summary)


class VideoFileSource:
    """A video file, read as fast as frames are taken; with `loop`, from the start again after the end.

    `interval` is the time in seconds from one frame to the next; with `own_rate` and no `interval` it is the
    file's own.
    """

    source_time = None

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
    def stream_time(self) -> float | None:
        """Time stamp of the latest frame, in seconds."""
        return self._video.source_time

    @property
    def codec(self) -> str:
        """Return the codec, such as `h264`."""
        return self._video.codec

    @property
    def origin(self) -> FrameOrigin:
        """Return the file's name with the position in seconds, as a media fragment: `clip.mp4#t=12.480`."""
        at = self._video.source_time
        return FrameOrigin(printable(self._path.name) + ("" if at is None else f"#t={at:.3f}"))

    def read(self) -> Image | None:
        """Return the next frame, None at the end."""
        with self._translate_errors():
            image = self._video.read()
            if image is None and not self._found:
                raise SourceError("no-video", f"{self._path}: it holds no frame that can be read")
            if image is None and self.live:
                self._video.close()
                self._video, self._found = self._open(), False
                return self.read()
            self._found = True
        return image

    def close(self) -> None:
        """Close the file."""
        self._video.close()

    def _open(self) -> VideoDecoder:
        with self._translate_errors():
            if self._path.stat().st_size == 0:
                raise SourceError("no-video", f"{self._path}: the file is empty (0 bytes)")
            # With "file:" FFmpeg takes no file name for one of its protocols.
            return VideoDecoder(f"file:{self._path}", str(self._path), {}, decoding=self._decoding)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FileNotFoundError, FileNotFoundError) as error:
            raise SourceError("not-found", f"{self._path}: no such file") from error
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            raise SourceError(
                "codec", f"{self._path}: neither an image nor a video that can be read"
            ) from error
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError("gone", f"{self._path}: cannot be read: {error.strerror}") from error
