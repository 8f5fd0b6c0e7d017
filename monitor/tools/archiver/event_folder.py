"""Folders of documents: lines of JSON and their images, each document once."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from monitor.events.event import Event


class DocumentFolder:
    """Documents in one file of lines in the folder `path`, with their images in files beside it.

    Creates the folder; reads the ids that the file holds. Nothing that is in it is changed, except that a
    last line that a crash cut off gets its line break. Everything raises OSError.
    """

    def __init__(self, path: Path, lines: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path, self._lines = path, path / lines
        self._ids = _stored_ids(self._lines)

    def __contains__(self, document_id: str) -> bool:
        return document_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add_document(self, document_id: str, text: str, images: Mapping[str, bytes | None]) -> int:
        """Add a document and return the bytes written; 0 if the folder holds it already.

        `images` are files by their path in the folder; None: no file. Everything is on disk on return. The
        line comes last, so a document with a line has its images.
        """
        if document_id in self._ids:
            return 0
        written = 0
        for name, image in images.items():
            if image is not None:
                (self.path / name).parent.mkdir(exist_ok=True)
                _write_image(self.path / name, image)
                written += len(image)
        line = (text + "\n").encode()
        is_first = not self._ids
        append_line(self._lines, line)
        if is_first:
            sync_folder(self.path)
        self._ids.add(document_id)
        return written + len(line)


class EventFolder(DocumentFolder):
    """Events in `events.jsonl`, with their images in `frames/<id>.jpg` (annotated) and `raw/<id>.jpg`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "events.jsonl")
        (path / "frames").mkdir(exist_ok=True)

    def add(self, event: Event, annotated: bytes | None, raw: bytes | None = None) -> int:
        """Add an event with its images; see `add_document`."""
        images = {f"frames/{event.id}.jpg": annotated, f"raw/{event.id}.jpg": raw}
        return self.add_document(event.id, event.to_json(), images)


def sync_folder(path: Path) -> None:
    """Have the names of a folder's files on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: bytes) -> None:
    """Append a line whole or not at all, also on a disk that gets full."""
    with path.open("ab", buffering=0) as file:
        start = file.tell()
        try:
            written = 0
            while written < len(line):
                written += file.write(line[written:]) or 0
            os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(start)
            raise


def _write_image(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def _stored_ids(path: Path) -> set[str]:
    """Return the ids of the events in a file of lines; end a last line that was cut off."""
    ids: set[str] = set()
    if not path.exists():
        return ids
    complete = True
    with path.open("r", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            complete = line.endswith("\n")
            with contextlib.suppress(ValueError):
                document = json.loads(line)
                if isinstance(document, dict):
                    ids.add(str(document.get("id")))
    if not complete:
        with path.open("a", encoding="utf-8") as lines:
            lines.write("\n")
    return ids
