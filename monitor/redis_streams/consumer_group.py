"""A consumer of a group: what Redis gives it of a stream, and what it takes over from consumers that died."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from redis.exceptions import ResponseError

from monitor.redis_streams.connection import RedisConnection

logger = logging.getLogger(__name__)


_Document = TypeVar("_Document")


StreamEntry = tuple[bytes, dict[bytes, bytes] | None]
"""A stream entry: its id and fields; none if it was trimmed away while it was pending."""


@dataclass(frozen=True, slots=True)
class UnreadableEntry:
    """An entry of the stream that is no document of a version known here, and why."""

    entry: str
    reason: str


def log_unreadable(unreadable: UnreadableEntry) -> None:
    """What is done with an unreadable entry unless told otherwise."""
    logger.warning("entry %s passed over: %s", unreadable.entry, unreadable.reason)


def reply_entries(reply: Any) -> list[StreamEntry]:
    """The entries in the answer to a reading of one stream."""
    return [entry for _, entries in reply or [] for entry in entries]


def parse_entry(
    entry: StreamEntry,
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


class GroupConsumer:
    """`name` in `group` at `stream`. One entry at a time, so that none waits long enough to be taken over.

    Everything raises what the client raises: whoever calls has it told (`Server.errors_told`).
    """

    def __init__(self, server: RedisConnection, stream: str, group: str, name: str) -> None:
        self._server, self._stream, self._group, self._name = server, stream, group, name

    def ensure_group(self, start: str) -> None:
        """Make the group, beginning after `start`, and the stream, unless they are there."""
        try:
            self._server.client.xgroup_create(self._stream, self._group, id=start, mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def pending(self, after: str) -> list[StreamEntry]:
        """The next entry after this id that was given to this consumer and is not acknowledged."""
        return self._given(after, None)

    def read_new(self, block: int | None) -> list[StreamEntry]:
        """The next entry that the group has not had, within `block` milliseconds; None: if there is one."""
        return self._given(">", block)

    def claim_stale(self, idle: float) -> list[StreamEntry]:
        """The longest pending entry, taken over, if any consumer has let one lie for so many seconds."""
        cursor = b"0-0"
        try:
            while True:
                reply = self._server.client.xautoclaim(
                    self._stream, self._group, self._name, int(idle * 1000), cursor, count=1
                )
                cursor, claimed = reply[0], [entry for entry in reply[1] if entry[0] is not None]
                if claimed or cursor == b"0-0":  # Redis 6.2 gives nothing for an entry trimmed away
                    return claimed
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            return []

    def acknowledge(self, entry: bytes) -> None:
        """Say that this entry is worked off."""
        with self._server.translate_errors("acknowledging"):
            self._server.client.xack(self._stream, self._group, entry)

    def _given(self, after: str, block: int | None) -> list[StreamEntry]:
        streams = {self._stream: after}
        try:
            return reply_entries(
                self._server.client.xreadgroup(self._group, self._name, streams, count=1, block=block)
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.ensure_group("0")  # the stream was deleted: all that is in it now is new
            return []
