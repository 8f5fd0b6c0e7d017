"""Entries of a stream, and the documents in them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

logger = logging.getLogger(__name__)

_Document = TypeVar("_Document")

Entry = tuple[bytes, dict[bytes, bytes] | None]
"""A stream entry: its id and fields; none if it was trimmed away while it was pending."""


@dataclass(frozen=True, slots=True)
class UnreadableEntry:
    """An entry of the stream that is no document of a version known here, and why."""

    entry: str
    reason: str


def log_unreadable(unreadable: UnreadableEntry) -> None:
    """What is done with an unreadable entry unless told otherwise."""
    logger.warning("entry %s passed over: %s", unreadable.entry, unreadable.reason)


def entries_of(reply: Any) -> list[Entry]:
    """The entries in the answer to a reading of one stream."""
    return [entry for _, entries in reply or [] for entry in entries]


def document_in(
    entry: Entry,
    field: bytes,
    parse: Callable[[bytes], _Document],
    on_unreadable: Callable[[UnreadableEntry], None],
) -> _Document | None:
    """What the field holds; an entry that is something else is told, and None is given."""
    name, fields = entry[0].decode(), entry[1]
    if not fields:
        reason = "it was trimmed away before it was read"
    elif field not in fields:
        reason = f"it has no field `{field.decode()}`"
    else:
        try:
            return parse(fields[field])
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or field.decode()
            reason = f"no {field.decode()} of version 1: {place}: {first['msg']}"
    on_unreadable(UnreadableEntry(name, reason))
    return None
