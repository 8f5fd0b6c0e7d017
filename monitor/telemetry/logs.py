"""The log: one line a record on standard error, as text for people or JSON for machines.

On the journal of systemd a line begins with its level as `<N>`, which the journal takes off and keeps, and
text has no time of its own, which the journal has too.
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
"""Of warnings and errors that differ in their figures alone, so many lines in so many seconds are written."""


_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)
"""Least level of each of syslog's priorities."""


class Formatter(logging.Formatter):
    """A record and its extra fields in one line."""

    def __init__(self, *, as_json: bool, on_journal: bool = False) -> None:
        super().__init__()
        self._as_json = as_json
        self._on_journal = on_journal

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = {key: value for key, value in vars(record).items() if key not in _OWN}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level, message = record.levelname.lower(), record.getMessage()
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        priority = next(number for least, number in _PRIORITIES if record.levelno >= least)
        start = f"<{priority}>" if self._on_journal else ""
        if self._as_json:
            return start + json.dumps({"at": at, "level": level, "message": message, **fields}, default=str)
        told = "".join(f" {key}={_plain(value)}" for key, value in fields.items() if value is not None)
        # A message of several lines would lose its level after the first.
        message = " ".join(message.splitlines())
        return f"{start}{message}{told}" if self._on_journal else f"{at} {level:7} {message}{told}"


def _plain(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return json.dumps(text) if not text or " " in text or "\n" in text else text


@dataclass(slots=True)
class _RepeatGroup:
    began: float
    written: int = 0
    held_back: int = 0
    last: logging.LogRecord | None = None


class RepeatFilter:
    """Holds back warnings and errors that come again and again, and says later how many there were.

    Two records are of one kind if logger, level, message, `camera` and `cause` are the same.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[object, ...], _RepeatGroup] = {}

    def filter(self, record: logging.LogRecord) -> Iterator[logging.LogRecord]:
        """What is to be written now that `record` came: sums of what was held back, and perhaps itself."""
        now = record.created
        for key, kind in list(self._kinds.items()):
            if not 0 <= now - kind.began < REPEAT_WINDOW:  # also when the wall clock was set back
                del self._kinds[key]
                yield from _sum(kind)
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
        """Sums of all that is held back still."""
        kinds = list(self._kinds.values())
        self._kinds.clear()
        for kind in kinds:
            yield from _sum(kind)


def _sum(kind: _RepeatGroup) -> Iterator[logging.LogRecord]:
    """The last record held back, with the number of those like it."""
    if kind.last is not None:
        told = logging.makeLogRecord(vars(kind.last))
        told.held_back = kind.held_back
        yield told


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the time: a live table on a terminal stands in for it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._calm = RepeatFilter()

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        raise AttributeError("this handler writes to standard error")

    def emit(self, record: logging.LogRecord) -> None:
        for told in self._calm.filter(record):
            super().emit(told)

    def close(self) -> None:
        self.acquire()
        try:
            for told in self._calm.flush():
                super().emit(told)
        finally:
            self.release()
        super().close()


def is_journal(environment: Mapping[str, str], descriptor: int = 2) -> bool:
    """Whether `descriptor` is the stream to the journal that `$JOURNAL_STREAM` names as device:inode."""
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
