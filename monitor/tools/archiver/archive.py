"""Folders of events, samples and labels, one a day, within a disk budget; what is removed is noted."""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO, get_args

from monitor.errors import MonitorError
from monitor.events.event import Event
from monitor.events.labels import Label
from monitor.events.samples import Sample
from monitor.tools.archiver.event_folder import DocumentFolder, append_line, sync_folder

logger = logging.getLogger(__name__)

_NOTICES = "notices.jsonl"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OPEN_DAYS = 3
"""Days whose ids are in memory: events of an earlier day come late, from an outbox."""


_Kind = Literal["events", "samples", "labels"]
_Day = dict[_Kind, DocumentFolder]
"""The documents of one day."""


class ArchiveError(MonitorError):
    """The archive took nothing; `is_full` says whether a person must make room."""

    def __init__(self, message: str, *, is_full: bool = False) -> None:
        super().__init__(message)
        self.is_full = is_full


class Archive:
    """Events, samples and labels below `path`, in a folder for each day (UTC), of `max_bytes` in all.

    The day is that of the capture; of a label, that of the answer.

    To make room, the oldest days are removed whole, never the newest one. Each removal is logged, counted in
    `removed_events` and appended to `notices.jsonl`. One process writes to an archive at a time. Raises
    ArchiveError if the folder cannot be used.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self.max_bytes = path, max_bytes
        self.removed_events = 0
        self._folders: dict[str, _Day] = {}
        self._notices: list[bytes] = []
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(path / ".lock")
            self._sizes = {day.name: _size(day) for day in path.iterdir() if _DAY.fullmatch(day.name)}
        except BlockingIOError:
            raise ArchiveError(f"another archiver writes to {path}: give each one a folder") from None
        except OSError as error:
            raise _describe(error, path) from error

    @property
    def size(self) -> int:
        """The bytes of all files of documents and images."""
        return sum(self._sizes.values())

    def close(self) -> None:
        """Let another process write to the archive."""
        self._lock.close()

    def store(self, event: Event, annotated: bytes | None, raw: bytes | None) -> bool:
        """Store an event with its images and return True once it is on disk.

        Returns False for one that is there already, and for one whose day is the next to be removed. Raises
        ArchiveError where it may be tried again.
        """
        images = {f"frames/{event.id}.jpg": annotated, f"raw/{event.id}.jpg": raw}
        return self._store("events", event.captured_at, event.id, event.to_json(), images)

    def store_sample(self, sample: Sample, png: bytes | None) -> bool:
        """Store a sample with its frame, as in `store`."""
        images = {f"samples/{sample.id}.png": png}
        return self._store("samples", sample.captured_at, sample.id, sample.to_json(), images)

    def store_label(self, label: Label) -> bool:
        """Store a label, as in `store`."""
        return self._store("labels", label.labelled_at, label.id, label.to_json(), {})

    def _store(
        self, kind: _Kind, at: datetime, document_id: str, text: str, images: Mapping[str, bytes | None]
    ) -> bool:
        day = f"{at.astimezone(UTC):%Y-%m-%d}"
        try:
            self._write_notices()
            if document_id in self._folder(day)[kind]:
                return False
            self._sizes.setdefault(day, 0)
            size = len(text) + 1 + sum(len(image or b"") for image in images.values())
            if not self._make_room(day, size, coming_events=int(kind == "events")):
                return False
            self._sizes[day] += self._folder(day)[kind].add_document(document_id, text, images)
        except OSError as error:
            raise _describe(error, self.path) from error
        return True

    def note(self, kind: str, **fields: str | int) -> None:
        """Append a notice to `notices.jsonl`, as soon as the disk takes it."""
        entry = {"at": _now(), "kind": kind, **fields}
        self._notices.append((json.dumps(entry) + "\n").encode())
        with contextlib.suppress(OSError):  # the next event tries again, and reports the error
            self._write_notices()

    def _write_notices(self) -> None:
        while self._notices:
            append_line(self.path / _NOTICES, self._notices[0])
            del self._notices[0]

    def _folder(self, day: str) -> _Day:
        """Return the folder of a day; the last used ones stay in memory."""
        folder = self._folders.pop(day, None)
        if folder is None:
            is_new = not (self.path / day).exists()
            folder = {kind: DocumentFolder(self.path / day, f"{kind}.jsonl") for kind in get_args(_Kind)}
            if is_new:
                sync_folder(self.path)
        self._folders[day] = folder
        for old in list(self._folders)[:-_OPEN_DAYS]:
            del self._folders[old]
        return folder

    def _make_room(self, day: str, coming: int, *, coming_events: int) -> bool:
        """Remove the oldest days until so many bytes of `day` fit; False if `day` itself was the oldest."""
        while self.size + coming > self.max_bytes:
            oldest, *newer = sorted(self._sizes)
            if not newer:
                raise ArchiveError(
                    f"the archive {self.path} is full: its newest day has reached the limit of "
                    f"{self.max_bytes} bytes; raise --max-bytes",
                    is_full=True,
                )
            self._remove(oldest, coming_events=coming_events if oldest == day else 0)
            if oldest == day:
                return False
        return True

    def _remove(self, day: str, coming_events: int) -> None:
        events, size = len(self._folder(day)["events"]) + coming_events, self._sizes[day]
        logger.warning("archived day removed to make room", extra={"day": day, "events": events})
        self.note("removed", day=day, events=events, bytes=size)
        self.removed_events += events
        shutil.rmtree(self.path / day)
        del self._folders[day], self._sizes[day]


def _locked(path: Path) -> TextIO:
    """Return a file that this process alone has locked; closing it ends that."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file


def _describe(error: OSError, path: Path) -> ArchiveError:
    reason = error.strerror or str(error)
    return ArchiveError(f"cannot write to the archive {path}: {reason}", is_full=error.errno in _FULL)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _size(folder: Path) -> int:
    """Return the bytes of the files in a folder; remove what a crash left half written."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.suffix == ".part":
                file.unlink()
            else:
                size += file.stat().st_size
    return size
