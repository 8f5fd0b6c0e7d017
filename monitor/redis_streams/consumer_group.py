"""Stream entries as readers see them, and a consumer of a group."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import ValidationError
from redis.exceptions import ResponseError

from monitor.errors import MonitorError
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
    """Log an unreadable entry."""
    logger.warning("entry %s skipped: %s", unreadable.entry, unreadable.reason)


@dataclass(frozen=True, slots=True)
class MissedEntries:
    """Entries of a stream that were trimmed away before they were read, or the whole stream was deleted.

    They came after the id `after`, the last that was read, and before `first`, the oldest that is left.
    """

    stream: str
    after: str
    first: str

    @property
    def since(self) -> datetime:
        """When the entry `after` was added, by the clock of Redis."""
        return datetime.fromtimestamp(entry_id(self.after)[0] / 1000, UTC)

    @property
    def until(self) -> datetime:
        """When the entry `first` was added."""
        return datetime.fromtimestamp(entry_id(self.first)[0] / 1000, UTC)

    @property
    def resume_from(self) -> str:
        """The id from which to follow on, with `first` as the next entry."""
        milliseconds, number = entry_id(self.first)
        return f"{milliseconds}-{number - 1}" if number else f"{milliseconds - 1}-{2**64 - 1}"


class EntriesMissedError(MonitorError):
    """A reader's position was trimmed away; `missed` says what it missed. Go on from its `resume_from`."""

    def __init__(self, missed: MissedEntries) -> None:
        super().__init__(
            f"entries of {missed.stream} were trimmed away before they were read, from {missed.since} "
            f"to {missed.until}: read more often, or raise redis.stream_maxlen"
        )
        self.missed = missed


def raise_missed(missed: MissedEntries) -> None:
    """Raise EntriesMissedError."""
    raise EntriesMissedError(missed)


def find_missed(client: Any, stream: str, after: str) -> MissedEntries | None:
    """Return what a reader that has read up to `after` has missed; None if nothing."""
    oldest = client.xrange(stream, count=1)
    if entry_id(after) == (0, 0) or not oldest:
        return None
    missed = MissedEntries(stream, after, oldest[0][0].decode())
    return missed if entry_id(after) < entry_id(missed.resume_from) else None


def entry_id(text: str) -> tuple[int, int]:
    """Return the parts of a stream id: milliseconds of Unix time, and a number."""
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number or 0)


def reply_entries(reply: Any) -> list[StreamEntry]:
    """Return the entries in the reply to reading one stream."""
    return [entry for _, entries in reply or [] for entry in entries]


def parse_entry(
    entry: StreamEntry,
    field: bytes,
    parse: Callable[[bytes], _Document],
    on_unreadable: Callable[[UnreadableEntry], None],
) -> _Document | None:
    """Return what the field holds; report an entry that is something else, and return None."""
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
    """Reads as `name` in `group` of `stream`, one entry at a time, so that none is pending long enough to be
    taken over.

    Everything raises what the client raises: callers use `RedisConnection.translate_errors`.
    """

    def __init__(self, server: RedisConnection, stream: str, group: str, name: str) -> None:
        self._server, self._stream, self._group, self._name = server, stream, group, name

    def ensure_group(self, start: str) -> None:
        """Create the group, beginning after `start`, and the stream, unless they exist."""
        try:
            self._server.client.xgroup_create(self._stream, self._group, id=start, mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def pending(self, after: str) -> list[StreamEntry]:
        """Return the next entry after this id that is this consumer's and not acknowledged."""
        return self._given(after, None)

    def read_new(self, block: int | None) -> list[StreamEntry]:
        """Return the next entry that the group has not had; wait for `block` milliseconds, None: not."""
        return self._given(">", block)

    def missed(self) -> MissedEntries | None:
        """Return what was trimmed away before the group had it; None if nothing was."""
        for group in self._server.client.xinfo_groups(self._stream):
            if group["name"] == self._group.encode():
                last = group["last-delivered-id"].decode()
                return find_missed(self._server.client, self._stream, last)
        return None

    def claim_stale(self, idle: float) -> list[StreamEntry]:
        """Take over the oldest entry that has been pending for so many seconds, if there is one."""
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
        """Acknowledge an entry: its work is done."""
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
