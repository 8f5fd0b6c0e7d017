"""What lies on disk outlives the daemon, and trouble with the disk never stops it."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.errors import MonitorError
from tests.support.events import make_parcel
from tests.support.sqlite_faults import NOTICE, check_cuts, everything, filled, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


def test_everything_comes_back_as_it_was_and_when(path: Path) -> None:
    items = [make_parcel(0, raw=True), NOTICE, make_parcel(1).without_images(), make_parcel(2, "side")]
    with opened(path, clock=lambda: 100.0, wall=lambda: 1000.0) as store:
        for number, item in enumerate(items):
            store.append(item, 100.0 - number, {"state": f"after {number}"})
        size = store.size
    # After the restart the monotonic clock tells another time; two minutes have gone by.
    with opened(path, clock=lambda: 7.0, wall=lambda: 1120.0) as store:
        assert store.size == size
        assert store.oldest() == pytest.approx(7.0 - 120.0)
        assert everything(store) == items
        assert store.shelf.note("state") == "after 3"
        assert store.shelf.durable


def test_what_was_delivered_does_not_come_back(path: Path) -> None:
    with opened(path) as store:
        for number in range(5):
            store.append(make_parcel(number), 0.0)
        store.next_batch(5, 10**9)
        store.acknowledge(3)
    with opened(path) as store:
        assert everything(store) == [make_parcel(3), make_parcel(4)]


KILLED = """
import sys
from pathlib import Path
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.delivery.outbox_queue import OutboxQueue
from tests.support.events import make_parcel
store = OutboxQueue(10_000, 10**9, SqliteStorage(Path(sys.argv[1]), sync=sys.argv[2]))
for number in range(100_000):
    store.append(make_parcel(number), 0.0, {"state": str(number)})
    print(number, flush=True)
"""


@pytest.mark.parametrize("sync", ["process", "power"])
def test_what_was_laid_down_before_a_kill_is_there_after_it(path: Path, sync: str) -> None:
    pick = random.Random(5)
    for _ in range(2):
        shutil.rmtree(path.parent, ignore_errors=True)
        command = [sys.executable, "-c", KILLED, str(path), sync]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(pick.randrange(5, 120)):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read().split()
        last = int(said[-1]) if said else 0
        with opened(path) as store:
            kept = everything(store)
            assert len(kept) > last
            assert kept == [make_parcel(number) for number in range(len(kept))]
            assert store.shelf.note("state") == str(len(kept) - 1)


def test_the_log_has_its_length_beforehand_where_an_fsync_waits_for_it(path: Path) -> None:
    for sync, length in (("power", 16_000_000), ("process", 0)):
        with opened(path, sync=sync) as store:
            log = path.with_name(path.name + "-wal")
            assert log.stat().st_size >= length
            assert (log.stat().st_size > 1_000_000) == bool(length)
            store.append(make_parcel(0), 0.0)
            assert log.stat().st_size <= max(length, 1_000_000), "it grew all the same"


def test_what_is_delivered_at_once_is_not_read_from_the_disk_first(path: Path) -> None:
    with opened(path) as store:
        shelf = store.shelf
        assert isinstance(shelf, SqliteStorage)
        assert shelf._writer is not None
        said: list[str] = []
        shelf._writer.set_trace_callback(said.append)
        for number in range(20):
            store.append(make_parcel(number), 0.0)
        assert everything(store) == [make_parcel(number) for number in range(20)]
        store.acknowledge(20)
        assert any("INSERT" in line for line in said)
        assert not any("SELECT" in line for line in said)
        assert shelf._at_hand_size == 0


def test_what_waits_long_is_on_the_disk_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.delivery.sqlite_storage._AT_HAND", 3 * make_parcel(0).size)
    parcels = [make_parcel(number) for number in range(20)]
    with opened(path) as store:
        for parcel in parcels:
            store.append(parcel, 0.0)
        shelf = store.shelf
        assert isinstance(shelf, SqliteStorage)
        assert len(shelf._read_cache) <= 3
        assert everything(store) == parcels
        shelf.replace(19, parcels[19].without_images())
        assert shelf.get(19) == parcels[19].without_images()


def test_two_daemons_cannot_use_one_file(path: Path) -> None:
    with opened(path), pytest.raises(MonitorError, match="in use by another daemon"):
        SqliteStorage(path)
    with opened(path):
        pass  # the lock ends with its holder


def test_a_folder_that_cannot_be_written_is_said_and_memory_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    with opened(tmp_path / "file" / "outbox.db") as store:
        store.append(make_parcel(0), 0.0, {"state": "x"})
        assert everything(store) == [make_parcel(0)]
        assert not store.shelf.durable
        assert store.shelf.note("state") == "x"
        assert "outbox.db fails" in str(store.shelf.trouble())
    assert sum("held in memory" in message for message in caplog.messages) == 1


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 600 kB there."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_what_did_not_fit_is_written_once_there_is_room(tmp_path: Path) -> None:
    now = [0.0]
    folder = tmp_path / "small"
    with small_disk(folder):
        (folder / "someone-elses").write_bytes(b"x" * 400_000)
        with opened(folder / "outbox.db", clock=lambda: now[0]) as store:
            for number in range(400):
                store.append(make_parcel(number), now[0])
            assert "full" in str(store.shelf.trouble())
            assert not store.shelf.durable
            assert everything(store) == [make_parcel(number) for number in range(400)]
            store.acknowledge(390)
            (folder / "someone-elses").unlink()
            now[0] += 60
            store.shelf.checkpoint()
            store.append(make_parcel(400), now[0])
            assert store.shelf.trouble() is None
            assert store.shelf.durable
        with opened(folder / "outbox.db") as store:
            kept = everything(store)
            # What was delivered and could not be removed may come again; Redis knows it.
            assert kept[-11:] == [make_parcel(number) for number in range(390, 401)]


@pytest.mark.parametrize("spoil", ["empty", "text", "another database"])
def test_a_file_that_is_no_outbox_is_set_aside_untouched(
    path: Path, spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    if spoil == "another database":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE theirs (x)")
        other.close()
    else:
        path.write_bytes(b"" if spoil == "empty" else b"nothing of the kind" * 1000)
    before = path.read_bytes()
    with opened(path) as store:
        store.append(make_parcel(0), 0.0)
        assert everything(store) == [make_parcel(0)]
        assert store.shelf.durable
    (aside,) = path.parent.glob("outbox.db.damaged-*")
    if spoil != "another database":
        assert aside.read_bytes() == before
    assert any("set aside" in message for message in caplog.messages)


def test_one_damaged_entry_costs_itself_alone_and_is_counted(path: Path) -> None:
    filled(path, 40)
    data = path.read_bytes()
    document = make_parcel(20).id.encode()
    at = data.index(document)
    path.write_bytes(data[:at] + b"x" + data[at + 1 :])
    with opened(path) as store:
        assert store.pop_corrupt() == {("*", "events"): 1}
        assert everything(store) == [make_parcel(number) for number in range(40) if number != 20]


def test_a_file_cut_off_anywhere_starts_and_keeps_only_what_is_whole(path: Path) -> None:
    check_cuts(path, 25, random.Random(6))
