"""The archive: parts as files, and a manifest of what it contains and what is missing."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitor.errors import MonitorError


@dataclass(frozen=True, slots=True)
class SupportFile:
    """A file of the archive; without text, `missing` is the reason why it could not be collected."""

    name: str
    what: str
    text: str | None
    missing: str = ""


def manifest(parts: Sequence[SupportFile], version: str, at: datetime) -> str:
    """List what is in the archive, with sizes and hashes, and what is missing, with the reason."""
    collected = [
        {
            "file": part.name,
            "what": part.what,
            "bytes": len(part.text.encode()),
            "sha256": hashlib.sha256(part.text.encode()).hexdigest(),
        }
        for part in parts
        if part.text is not None
    ]
    missing = [
        {"file": part.name, "what": part.what, "why": part.missing} for part in parts if part.text is None
    ]
    document = {"defect-monitor": version, "at": at.isoformat(timespec="seconds"), "files": collected}
    return json.dumps({**document, "missing": missing}, indent=2, ensure_ascii=False) + "\n"


def check_writable(path: Path) -> None:
    """Raise MonitorError if something is at `path`, or nothing can be written there."""
    if os.path.lexists(path):
        raise MonitorError(f"{path} already exists: choose another --out")
    if not os.access(path.parent, os.W_OK):
        raise MonitorError(f"cannot write {path}: {path.parent} is not a writable folder")


def write_archive(path: Path, parts: Sequence[SupportFile], version: str, at: datetime) -> int:
    """Write the collected parts and the manifest into a new file that only its owner can read.

    The archive has one folder, named like `path` without its suffixes. Returns the size in bytes; raises
    MonitorError where it cannot be written or `path` exists.
    """
    listing = SupportFile("manifest.json", "this list", manifest(parts, version, at))
    folder = path.name.removesuffix(".tar.gz").removesuffix(".tgz")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for part in (listing, *parts):
            if part.text is not None:
                content = part.text.encode()
                member = tarfile.TarInfo(f"{folder}/{part.name}")
                member.size, member.mode, member.mtime = len(content), 0o600, int(at.timestamp())
                archive.addfile(member, io.BytesIO(content))
    check_writable(path)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            return file.write(buffer.getvalue())
    except OSError as error:
        raise MonitorError(f"cannot write {path}: {error.strerror}") from error
