"""A consumer of a group: what Redis gives it of a stream, and what it takes over from consumers that died."""

from redis.exceptions import ResponseError

from monitor.publish.connection import Server
from monitor.publish.entries import Entry, entries_of


class Consumer:
    """`name` in `group` at `stream`. One entry at a time, so that none waits long enough to be taken over.

    Everything raises what the client raises: whoever calls has it told (`Server.errors_told`).
    """

    def __init__(self, server: Server, stream: str, group: str, name: str) -> None:
        self._server, self._stream, self._group, self._name = server, stream, group, name

    def make_group(self, start: str) -> None:
        """Make the group, beginning after `start`, and the stream, unless they are there."""
        try:
            self._server.client.xgroup_create(self._stream, self._group, id=start, mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def given_before(self, after: str) -> list[Entry]:
        """The next entry after this id that was given to this consumer and is not acknowledged."""
        return self._given(after, None)

    def new(self, block: int | None) -> list[Entry]:
        """The next entry that the group has not had, within `block` milliseconds; None: if there is one."""
        return self._given(">", block)

    def abandoned(self, idle: float) -> list[Entry]:
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
        with self._server.errors_told("acknowledging"):
            self._server.client.xack(self._stream, self._group, entry)

    def _given(self, after: str, block: int | None) -> list[Entry]:
        streams = {self._stream: after}
        try:
            return entries_of(
                self._server.client.xreadgroup(self._group, self._name, streams, count=1, block=block)
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.make_group("0")  # the stream was deleted: all that is in it now is new
            return []
