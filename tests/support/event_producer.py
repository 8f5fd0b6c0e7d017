"""A camera that flags frames at a steady rate, and an outbox on disk that takes them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sender import SinkSender
from monitor.delivery.sinks.redis import RedisSink
from monitor.delivery.sqlite_storage import SqliteStorage
from tests.support.events import make_message

Times = Callable[[int, int], int]


DURABLE_REDIS = ("--appendonly", "yes", "--appendfsync", "always")  # a Redis that outlives being killed


@contextmanager
def outbox_on_disk(
    path: Path,
    url: str,
    prefix: str = "defects",
    *,
    max_events: int = 100_000,
    max_bytes: int = 10**9,
    **options: Any,
) -> Iterator[Outbox]:
    """An outbox as the daemon has it, but less patient; `options` are the sink's."""
    sink = RedisSink(url, prefix, **{"timeout": 0.5, "picture_bytes": 10**9} | options)
    storage = SqliteStorage(path, sync="process")
    queue = OutboxQueue([sink.name], max_items=max_events, max_bytes=max_bytes, storage=storage)
    outbox = Outbox(queue, [SinkSender(sink, queue, initial_backoff=0.02, max_backoff=0.3)])
    outbox.start()
    try:
        yield outbox
    finally:
        outbox.close()


class Line:
    """A camera that flags frames at a steady rate, in a thread."""

    def __init__(self, outbox: Outbox, rate: float, camera: str = "top") -> None:
        self.found: list[str] = []
        self._outbox, self._rate, self._camera = outbox, rate, camera
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._end.wait(1 / self._rate):
            parcel = make_message(len(self.found), datetime.now(UTC), self._camera)
            key = self._outbox.put(parcel)
            assert self._outbox.wait_until_stored(key, 10)
            self.found.append(parcel.id)

    def __enter__(self) -> "Line":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
