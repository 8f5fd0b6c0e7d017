"""A log whose lines are signed and chained: whoever lacks the key cannot change, remove or reorder any.

A line is a JSON object in canonical form: sorted keys, no blanks, ASCII. `signature` is the HMAC-SHA256 of
the rest of the line, `previous` the signature of the line before; the first line has none. A line of the kind
`summary` ends the log, so that a cut shows, too.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.errors import MonitorError, UsageError

MIN_KEY_BYTES = 16

LAST = "summary"
"""The kind of the last line."""


class SignedLog:
    """Writes a log to `path`, which must not exist. Each line is on disk when `append` returns.

    Raises UsageError where the file cannot be created.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self.path, self._key = path, key
        self._previous: str | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb")
        except OSError as error:
            raise UsageError(f"the log {path} cannot be created: {error.strerror or error}") from error

    def append(self, kind: str, record: Mapping[str, object]) -> None:
        """Sign a record and write it. Raises MonitorError where the disk refuses it."""
        line = {**record, "kind": kind, "previous": self._previous}
        line["signature"] = self._previous = _signature(line, self._key)
        try:
            self._file.write(_canonical(line) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise MonitorError(f"the log {self.path} cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_key(path: Path) -> bytes:
    """Return the key in a file, without the line end. Raises UsageError where it is none."""
    try:
        key = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror or error}") from error
    if len(key) < MIN_KEY_BYTES:
        raise UsageError(
            f"the key {path} has {len(key)} bytes, it needs {MIN_KEY_BYTES}: "
            f"`openssl rand -hex 32 > {path}` makes one"
        )
    return key


def read_log(path: Path, key: bytes) -> list[dict[str, Any]]:
    """Return the records of a log that is whole and unchanged. Raises MonitorError for any other."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"the log {path} cannot be read: {error.strerror or error}") from error
    records: list[dict[str, Any]] = []
    previous: str | None = None
    for number, line in enumerate(lines[:-1], 1):
        record = _read_line(line, key)
        if record is None:
            raise MonitorError(f"{path}, line {number}: changed, or signed with another key")
        if record["previous"] != previous:
            raise MonitorError(f"{path}, line {number}: lines before it are missing or in another order")
        records.append(record)
        previous = record["signature"]
    if lines[-1] or LAST not in [record["kind"] for record in records[-1:]]:
        raise MonitorError(
            f"{path}: the end is missing: the challenge was interrupted, or lines were removed"
        )
    return records


def _read_line(line: bytes, key: bytes) -> dict[str, Any] | None:
    """Return the record of a line; None unless it is signed, in its canonical form, and has its fields."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not {"kind", "previous", "signature"} <= record.keys():
        return None
    unsigned = {name: value for name, value in record.items() if name != "signature"}
    signed = _canonical({**unsigned, "signature": _signature(unsigned, key)})
    return record if hmac.compare_digest(signed, line) else None


def _signature(record: Mapping[str, object], key: bytes) -> str:
    return hmac.new(key, _canonical(record), hashlib.sha256).hexdigest()


def _canonical(record: Mapping[str, object]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
