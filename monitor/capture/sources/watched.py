"""A watched folder as a source: each new file once, when it is complete."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from monitor.capture.sources.base import NO_ORIGIN, FrameOrigin, NoFrameYet
from monitor.capture.sources.files import list_folder, log_others, pages_of
from monitor.capture.sources.inspected_files import FileVersion, InspectedFiles
from monitor.errors import ImageError, SourceError, UnusableError
from monitor.imaging.files import read_image
from monitor.records import Image

POLL_INTERVAL = 0.25
"""Seconds between two listings. Polling also works on network shares, where no notification arrives."""

SETTLE_TIME = 0.5
"""Seconds for which a file must not change before it is read."""

SETTLED_AGE = 10.0
"""Seconds since its modification after which a file is read at once: it was moved here, or is old."""

GIVE_UP_AFTER = 30.0
"""Seconds without a change after which a file that cannot be decoded is reported as unreadable."""


class WatchedFolderSource:
    """The files of a folder or pattern, those that are there and those that come, each version once.

    A file is read when its size, modification time and inode have not changed for `SETTLE_TIME` and it
    decodes to its end; a file that was moved into place is read at the next listing. A file that does not
    decode is tried again until it has not changed for `GIVE_UP_AFTER`; then `read` raises ImageError for it.
    A file that changes after its inspection counts as new.

    A file is recorded as inspected when the receipt of its origin is called.
    """

    live = True
    source_time = stream_time = None

    def __init__(
        self,
        location: str,
        inspected: InspectedFiles,
        *,
        interval: float | None = None,
        bit_depth: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.frame_interval = interval
        self.origin = NO_ORIGIN
        self._location = location
        self._bit_depth = bit_depth
        self._inspected = inspected
        self._clock = clock
        self._seen: dict[Path, tuple[FileVersion, float]] = {}  # not inspected yet: version, and since when
        self._in_hand: dict[Path, FileVersion] = {}  # given out, in this run
        self._ready: deque[tuple[Path, FileVersion, float]] = deque()
        self._others: tuple[Path, ...] = ()
        self._next_poll = 0.0
        self._pages: list[tuple[Path, int, str]] = []  # of the file in hand, the next one last
        self._first: Image | None = None  # its first page, if it decodes
        self._receipt: Callable[[], None] | None = None
        self._poll(first=True)

    def read(self) -> Image:
        """Return the image of the next new file.

        Raises NoFrameYet where there is none, ImageError for a file that stays unreadable, and SourceError
        where the folder cannot be listed.
        """
        if not self._ready and not self._pages and self._clock() >= self._next_poll:
            self._poll()
        while self._ready and not self._pages:
            path, version, since = self._ready.popleft()
            pages = pages_of(path)
            first: Image | None = None
            try:
                first = read_image(path, page=pages[0][1], bit_depth=self._bit_depth)
                for _, page, _ in pages[1:]:
                    read_image(path, page=page, bit_depth=self._bit_depth)
            except UnusableError:
                pass  # complete, but a setting is missing: reading it again says which
            except ImageError:
                if self._clock() - since < GIVE_UP_AFTER:
                    continue  # still being written, or gone: the next listing decides
            if _version(path) == version:
                self._give_out(path, version, pages)
                self._first = first
        if self._pages:
            return self._next_page()
        raise NoFrameYet(max(0.0, self._next_poll - self._clock()))

    def close(self) -> None:
        """Close the list of inspected files."""
        self._inspected.close()

    def _give_out(self, path: Path, version: FileVersion, pages: list[tuple[Path, int, str]]) -> None:
        self._seen.pop(path, None)
        self._in_hand[path] = version
        self._pages = pages[::-1]
        self._receipt = _FileReceipt(len(pages), partial(self._inspected.add, path, version))

    def _next_page(self) -> Image:
        path, page, name = self._pages.pop()
        self.origin = FrameOrigin(name, self._receipt)
        first, self._first = self._first, None
        return read_image(path, page=page, bit_depth=self._bit_depth) if first is None else first

    def _poll(self, *, first: bool = False) -> None:
        began = self._clock()
        found = list_folder(self._location)
        # A pattern may match nothing yet. Brackets alone are more likely part of a name.
        if not (found.images or set("*?") & set(self._location) or Path(self._location).is_dir()):
            raise SourceError("not-found", f"{self._location}: there is no such folder to watch")
        if found.others != self._others:
            log_others(found, self._location)
            self._others = found.others
        seen: dict[Path, tuple[FileVersion, float]] = {}
        paths = {path.absolute(): None for path in found.images}  # in order, without repetition
        for path in paths:
            version = _version(path)
            if version is None or self._in_hand.get(path) == version or (path, version) in self._inspected:
                continue
            known, since = self._seen.get(path, (None, began))
            if known != version:
                since = began
            seen[path] = version, since
            age = time.time() - version.modified_ns / 1e9
            if began - since >= SETTLE_TIME or age >= SETTLED_AGE:
                self._ready.append((path, version, since))
        self._seen = seen
        self._in_hand = {path: version for path, version in self._in_hand.items() if path in paths}
        if first:
            self._inspected.forget_missing(paths)
        took = self._clock() - began
        self._next_poll = self._clock() + max(POLL_INTERVAL, 5 * took)  # a large folder is listed less often


@dataclass(slots=True)
class _FileReceipt:
    """Calls `done` when it has been called for each of the `left` pages of a file."""

    left: int
    done: Callable[[], None]

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.done()


def _version(path: Path) -> FileVersion | None:
    """Return the version of a file; None where it is gone. One without access is reported when it is read."""
    try:
        return FileVersion.of(path.stat())
    except FileNotFoundError:
        return FileVersion(0, 0, 0) if path.is_symlink() else None
    except OSError:
        return FileVersion(0, 0, 0)
