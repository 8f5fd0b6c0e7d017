"""Measures how far consumer groups are behind the event stream, in its own thread and connection."""

import logging
import threading
import time
from typing import Any

from redis.exceptions import ResponseError

from monitor.errors import DeliveryError
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.consumer_group import entry_id, find_missed
from monitor.redis_streams.keys import RedisKeys
from monitor.telemetry.stream_metrics import GroupBacklog, StreamBacklog
from monitor.telemetry.supervised_thread import SupervisedThread

logger = logging.getLogger(__name__)


class StreamMonitor:
    """Measures the event stream below `prefix` at `url` every `interval` seconds.

    `latest` is the last result; None while Redis does not answer or the user may not ask. Nothing waits
    for it.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        max_entries: int,
        *,
        interval: float = 15.0,
        timeout: float = 2.0,
        access: RedisCredentials = NO_CREDENTIALS,
    ) -> None:
        self.keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self.keys, timeout=timeout, access=access)
        self._max_entries, self._interval = max_entries, interval
        self._end = threading.Event()
        self._may_ask = True
        self.latest: StreamBacklog | None = None
        self.last_heartbeat = time.monotonic()
        self.thread = SupervisedThread("consumers", self, restart_after=interval)

    def set_access(self, url: str, access: RedisCredentials) -> None:
        """Use these credentials from the next question on; see `RedisConnection.set_access`."""
        self._server.set_access(url, access)

    def close(self) -> None:
        """End the thread after the question under way."""
        self._end.set()
        if self.thread.ident is None:
            self._server.close()

    def run(self) -> None:
        """Measure until `close`; runs in `thread`."""
        while not self._end.is_set():
            try:
                self.latest = self.measure()
                self._may_ask = True
            except DeliveryError as error:
                self.latest = None
                if error.permanent and self._may_ask:  # the sender reports a server that is away
                    logger.warning("the lag of consumers is not measured: %s", error)
                    self._may_ask = False
            self.last_heartbeat = time.monotonic()
            self._end.wait(self._interval)
        self._server.close()

    def measure(self) -> StreamBacklog:
        """Return the state of the stream and its groups now. Raises DeliveryError."""
        stream = self.keys.events
        with self._server.translate_errors("measuring the lag of consumers"):
            node = self._server.node_for(stream)
            seconds, microseconds = node.time()  # entries have their ids by the clock of Redis
            now = seconds + microseconds / 1e6
            entries, oldest = node.xlen(stream), node.xrange(stream, count=1)
            return StreamBacklog(
                entries,
                self._max_entries,
                _age(now, oldest[0][0]) if oldest else 0.0,
                [_group(node, stream, group, now) for group in _groups(node, stream)],
            )


def _groups(node: Any, stream: str) -> list[dict[str, Any]]:
    try:
        return list(node.xinfo_groups(stream))
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return []


def _group(node: Any, stream: str, group: dict[str, Any], now: float) -> GroupBacklog:
    name, last = group["name"], group["last-delivered-id"].decode()
    unread = node.xrange(stream, min=f"({last}", count=1)
    waiting = [unread[0][0]] if unread else []
    has_missed = find_missed(node, stream, last) is not None
    if group["pending"]:
        first_pending = node.xpending(stream, name)["min"]
        if first_pending is not None:
            waiting.append(first_pending)
            has_missed = has_missed or not node.xrange(stream, first_pending, first_pending)
    return GroupBacklog(
        name.decode(errors="replace"),
        group.get("lag"),  # Redis 6.2 has none
        group["pending"],
        max((_age(now, entry) for entry in waiting), default=0.0),
        has_missed,
    )


def _age(now: float, entry: bytes) -> float:
    return max(0.0, now - entry_id(entry.decode())[0] / 1000)
