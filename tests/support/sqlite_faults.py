"""Outboxes on disk, and what becomes of one whose file is cut."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.events.messages import NoticeMessage, OutboxMessage
from monitor.records import CameraStateChange
from tests.support.events import BEGIN, make_parcel

NOTICE = NoticeMessage.of(CameraStateChange("top", "down", BEGIN, "timeout"))


@contextmanager
def opened(path: Path, *sinks: str, **options: object) -> Iterator[OutboxQueue]:
    storage = SqliteStorage(path, **({"sync": "process"} | options))  # type: ignore[arg-type]  # of the test's choice
    queue = OutboxQueue(sinks or ("redis",), max_bytes=10**9, storage=storage)
    try:
        yield queue
    finally:
        storage.close()


def everything(queue: OutboxQueue, sink: str = "redis") -> list[OutboxMessage]:
    batch = [entry.message for entry in queue.next_batch(sink, 10_000, 10**9)]
    queue.release(sink)
    return batch


def filled(path: Path, count: int) -> None:
    with opened(path) as queue:
        for number in range(count):
            queue.append(make_parcel(number), state={"incidents": "stored"})
        queue.commit()


def check_cuts(path: Path, cuts: int, pick: random.Random) -> tuple[int, int]:
    """Cut the file at random places; each time all are there, or the file is set aside and the loss reported.

    Returns how many entries there were, and how many the reports name."""
    filled(path, 60)
    whole = path.read_bytes()
    messages = [make_parcel(number) for number in range(60)]
    named = 0
    for _ in range(cuts):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        length = pick.randrange(len(whole))
        path.write_bytes(whole[:length])
        with opened(path) as queue:
            stored = everything(queue)
            assert stored in ([], messages), f"cut at {length}"
            if not stored:
                assert list(path.parent.glob("outbox.db.damaged-*")), f"cut at {length}, without a word"
                reports = queue.drops.pop_all()
                assert {report.cause for report in reports} == {"outbox-damaged"}
                assert all("damaged-" in str(report.detail) for report in reports)
                named += sum(report.events for report in reports)
            queue.append(make_parcel(99))
            queue.commit()
            assert queue.storage.durable
        with opened(path) as queue:
            assert len(everything(queue)) == len(stored) + 1
    return 60 * cuts, named
