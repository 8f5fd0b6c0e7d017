"""What lies on disk outlives the daemon, and trouble with the disk never stops it."""

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
def opened(path: Path, **options: object) -> Iterator[OutboxQueue]:
    shelf = SqliteStorage(path, **({"sync": "process"} | options))  # type: ignore[arg-type]  # of the test's choice
    try:
        yield OutboxQueue(10_000, 10**9, shelf)
    finally:
        shelf.close()


def everything(store: OutboxQueue) -> list[OutboxMessage]:
    return list(store.next_batch(10_000, 10**9))


def filled(path: Path, count: int) -> None:
    with opened(path) as store:
        for number in range(count):
            store.append(make_parcel(number), 0.0, {"state": "kept"})


def check_cuts(path: Path, cuts: int, pick: random.Random) -> tuple[int, int]:
    """Cut the file at random places; gives how many entries there were, and how many were kept."""
    filled(path, 60)
    whole = path.read_bytes()
    parcels = {make_parcel(number).id: make_parcel(number) for number in range(60)}
    kept_in_all = 0
    for _ in range(cuts):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        length = pick.randrange(len(whole))
        path.write_bytes(whole[:length])
        with opened(path) as store:
            kept = everything(store)
            assert [item.id for item in kept] == sorted((item.id for item in kept), key=list(parcels).index)
            assert all(item == parcels[item.id] for item in kept)
            assert list(path.parent.glob("outbox.db.damaged-*")), f"cut at {length}, and not a word"
            assert store.shelf.durable
            store.append(make_parcel(99), 0.0)
        with opened(path) as store:
            assert len(everything(store)) == len(kept) + 1
        kept_in_all += len(kept)
    return 60 * cuts, kept_in_all
