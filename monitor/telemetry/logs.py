"""Write the log to standard error, one line per record, as text for people or JSON for machines.

For the systemd journal a line begins with its priority as `<N>`, which the journal removes and stores. Text
lines then have no time stamp, because the journal adds one.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

REPEAT_WINDOW, MAX_REPEATS = 30.0, 5
"""At most `MAX_REPEATS` lines per `REPEAT_WINDOW` seconds are written of warnings and errors of one kind."""


_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)
"""Lowest logging level of each syslog priority."""


class Formatter(logging.Formatter):
    """Format a record and its extra fields as one line."""

    def __init__(self, *, as_json: bool, on_journal: bool = False) -> None:
        super().__init__()
        self._as_json = as_json
        self._on_journal = on_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line break."""
        fields = {key: value for key, value in vars(record).items() if key not in _OWN}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level, message = record.levelname.lower(), record.getMessage()
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        priority = next(number for least, number in _PRIORITIES if record.levelno >= least)
        start = f"<{priority}>" if self._on_journal else ""
        if self._as_json:
            return start + json.dumps({"at": at, "level": level, "message": message, **fields}, default=str)
        text_fields = "".join(f" {key}={_plain(value)}" for key, value in fields.items() if value is not None)
        # The journal would apply the priority to the first of several lines only.
        message = " ".join(message.splitlines())
        return (
            f"{start}{message}{text_fields}" if self._on_journal else f"{at} {level:7} {message}{text_fields}"
        )


def _plain(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return json.dumps(text) if not text or " " in text or "\n" in text else text


@dataclass(slots=True)
class _RepeatGroup:
    started_at: float
    written: int = 0
    held_back: int = 0
    last: logging.LogRecord | None = None


class RepeatFilter:
    """Suppress warnings and errors that repeat, and report later how many were suppressed.

    Two records are of one kind if logger, level, message, `camera` and `cause` are equal.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[object, ...], _RepeatGroup] = {}

    def filter(self, record: logging.LogRecord) -> Iterator[logging.LogRecord]:
        """Yield the records to write now: summaries of suppressed records, and perhaps `record`."""
        now = record.created
        for key, kind in list(self._kinds.items()):
            if not 0 <= now - kind.started_at < REPEAT_WINDOW:  # also when the wall clock was set back
                del self._kinds[key]
                yield from _summary(kind)
        if record.levelno < logging.WARNING:
            yield record
            return
        about = (getattr(record, "camera", None), getattr(record, "cause", None))
        kind = self._kinds.setdefault(
            (record.name, record.levelno, str(record.msg), *about), _RepeatGroup(now)
        )
        if kind.written < MAX_REPEATS:
            kind.written += 1
            yield record
        else:
            kind.held_back += 1
            kind.last = record

    def flush(self) -> Iterator[logging.LogRecord]:
        """Yield summaries of all records that are still suppressed."""
        kinds = list(self._kinds.values())
        self._kinds.clear()
        for kind in kinds:
            yield from _summary(kind)


def _summary(kind: _RepeatGroup) -> Iterator[logging.LogRecord]:
    """Yield the last suppressed record, with the number of records like it in the field `held_back`."""
    if kind.last is not None:
        summary = logging.makeLogRecord(vars(kind.last))
        summary.held_back = kind.held_back
        yield summary


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Write to the current `sys.stderr`: a live table on a terminal replaces it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._repeats = RepeatFilter()

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        raise AttributeError("this handler writes to standard error")

    def emit(self, record: logging.LogRecord) -> None:
        for allowed in self._repeats.filter(record):
            super().emit(allowed)

    def close(self) -> None:
        self.acquire()
        try:
            for allowed in self._repeats.flush():
                super().emit(allowed)
        finally:
            self.release()
        super().close()


def is_journal(environment: Mapping[str, str], descriptor: int = 2) -> bool:
    """Return whether `descriptor` is the journal stream that `$JOURNAL_STREAM` names as device:inode."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def setup_logging(level: str, style: str) -> None:
    """Send records of at least `level` to standard error as `text` or `json`."""
    handler = _CurrentStderr()
    handler.setFormatter(Formatter(as_json=style == "json", on_journal=is_journal(os.environ)))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
