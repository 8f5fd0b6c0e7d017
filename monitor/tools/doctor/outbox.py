"""Check whether messages were set aside because a sink never takes them."""

import sqlite3
from pathlib import Path

from monitor.delivery.sqlite_file import read_set_aside
from monitor.tools.doctor.result import CheckResult, failed, ok, skipped

_NAME = "set aside"


def check_set_aside(path: Path | None) -> CheckResult:
    """Check the outbox's file at `path`; None where there is none."""
    if path is None:
        return skipped(_NAME, "the outbox has no file")
    if not path.exists():
        return ok(_NAME, "the outbox has no file yet")
    try:
        items = read_set_aside(path)
    except (sqlite3.Error, OSError) as error:
        return failed(_NAME, f"the outbox {path} cannot be read: {error}", "see the daemon's log")
    if not items:
        return ok(_NAME, "every message could be delivered", {"messages": 0})
    at, sink, reason = items[0]
    return failed(
        _NAME,
        f"{len(items)} messages set aside because {sink} never takes them; the last at {at}: {reason}",
        f"report the reason; save the messages from the table set_aside of {path}, then delete its rows",
        {"messages": len(items)},
    )
