"""The log: one line a record on standard error, as text for people or JSON for machines."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in vars(record).items() if key not in _OWN}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level, message = record.levelname.lower(), record.getMessage()
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        if self._as_json:
            return json.dumps({"at": at, "level": level, "message": message, **fields}, default=str)
        told = "".join(f" {key}={_plain(value)}" for key, value in fields.items() if value is not None)
        return f"{at} {level:7} {message}{told}"


def _plain(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return json.dumps(text) if not text or " " in text or "\n" in text else text


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the time: a live table on a terminal stands in for it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        raise AttributeError("this handler writes to standard error")


def start_log(level: str, style: str) -> None:
    """Send records of at least `level` to standard error as `text` or `json`."""
    handler = _CurrentStderr()
    handler.setFormatter(_Formatter(as_json=style == "json"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
