"""What lies on disk outlives the daemon, and a failing disk never stops it."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.delivery import sqlite_file
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sqlite_file import read_set_aside
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.delivery.storage import StorageReadError
from monitor.errors import MonitorError
from tests.support.events import make_parcel
from tests.support.sqlite_faults import NOTICE, check_cuts, everything, filled, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


def test_everything_comes_back_as_it_was(path: Path) -> None:
    messages = [make_parcel(0, raw=True), NOTICE, make_parcel(1).without_images(), make_parcel(2, "side")]
    with opened(path) as queue:
        for number, message in enumerate(messages):
            queue.append(message, state={"incidents": f"after {number}"})
        size = queue.size
    with opened(path) as queue:
        assert queue.size == size
        assert everything(queue) == messages
        assert queue.storage.state("incidents") == "after 3"
        assert queue.storage.durable


def test_what_was_delivered_does_not_come_back_and_no_position_is_used_twice(path: Path) -> None:
    positions = set()
    for run in range(3):
        with opened(path) as queue:
            for number in range(5):
                queue.append(make_parcel(5 * run + number))
            batch = queue.next_batch("redis", 4, 10**9)
            queue.acknowledge("redis", batch[-1].key)
            positions |= {entry.position for entry in batch}
    with opened(path) as queue:
        assert everything(queue) == [make_parcel(12), make_parcel(13), make_parcel(14)]
        positions |= {entry.position for entry in queue.next_batch("redis", 9, 10**9)}
    assert len(positions) == 15


KILLED = """
import sys
from pathlib import Path
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sqlite_storage import SqliteStorage
from tests.support.events import make_parcel
queue = OutboxQueue(("redis",), max_bytes=10**9, storage=SqliteStorage(Path(sys.argv[1]), sync=sys.argv[2]))
for number in range(100_000):
    queue.append(make_parcel(number), state={"incidents": str(number)})
    queue.commit()
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("sync", ["process", "power"])
def test_what_was_written_before_a_kill_is_there_after_it(path: Path, sync: str) -> None:
    pick = random.Random(5)
    for _ in range(2):
        shutil.rmtree(path.parent, ignore_errors=True)
        command = [sys.executable, "-c", KILLED, str(path), sync]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(pick.randrange(5, 120)):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split()
        last = int(lines[-1]) if lines else 0
        with opened(path) as queue:
            stored = everything(queue)
            assert len(stored) > last
            assert stored == [make_parcel(number) for number in range(len(stored))]
            assert queue.storage.state("incidents") == str(len(stored) - 1)


def test_what_is_delivered_at_once_is_not_read_from_the_disk(path: Path) -> None:
    with opened(path) as queue:
        assert queue.storage._reader is not None
        statements: list[str] = []
        queue.storage._reader.set_trace_callback(statements.append)
        for number in range(20):
            queue.append(make_parcel(number))
        queue.commit()
        assert everything(queue) == [make_parcel(number) for number in range(20)]
        queue.next_batch("redis", 20, 10**9)
        queue.acknowledge("redis", 19)
        assert statements == []
        assert queue.storage._cache_bytes == 0


def test_a_long_backlog_is_on_the_disk_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.delivery.sqlite_storage._CACHE_BYTES", 3 * make_parcel(0).size)
    messages = [make_parcel(number) for number in range(20)]
    with opened(path) as queue:
        for message in messages:
            queue.append(message)
        queue.commit()
        assert len(queue.storage._cache) <= 3
        assert everything(queue) == messages
        for key in (0, 19):
            queue.storage.strip(key, queue._entries[key])
            assert queue.storage.read(key) == messages[key].without_images()


def test_two_daemons_cannot_use_one_file(path: Path) -> None:
    with opened(path), pytest.raises(MonitorError, match="in use by another daemon"):
        SqliteStorage(path).open()
    with opened(path):
        pass  # the lock ends with its holder


def test_a_failed_open_is_retried_and_earlier_messages_go_first(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(path, 3)
    now = [0.0]
    path.parent.rename(path.parent.with_name("away"))
    path.parent.write_text("no folder")
    with opened(path, clock=lambda: now[0]) as queue:
        queue.append(make_parcel(3), state={"incidents": "newer"})
        queue.commit()
        assert not queue.storage.durable
        assert "fails, events are held in memory" in str(queue.storage.problem())
        batch = queue.next_batch("redis", 9, 10**9)
        path.parent.unlink()
        path.parent.with_name("away").rename(path.parent)
        now[0] += 60
        queue.commit()
        queue.commit()
        assert queue.storage.durable
        # The batch was taken before the earlier messages were known, which must not be skipped.
        queue.acknowledge("redis", batch[-1].key)
        assert everything(queue)[:3] == [make_parcel(number) for number in range(3)]
    with opened(path) as queue:
        assert everything(queue)[:3] == [make_parcel(number) for number in range(3)]
        assert queue.storage.state("incidents") == "newer"
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


def test_what_a_full_disk_does_not_take_is_written_once_there_is_room(tmp_path: Path) -> None:
    now = [0.0]
    folder = tmp_path / "small"
    messages = [make_parcel(number) for number in range(401)]
    with small_disk(folder):
        (folder / "someone-elses").write_bytes(b"x" * 300_000)
        with opened(folder / "outbox.db", clock=lambda: now[0]) as queue:
            for message in messages[:400]:
                queue.append(message)
                queue.commit()
            assert "full" in str(queue.storage.problem())
            assert not queue.storage.durable
            assert everything(queue) == messages[:400]
            queue.next_batch("redis", 390, 10**9)
            queue.acknowledge("redis", 389)
            (folder / "someone-elses").unlink()
            now[0] += 60
            queue.append(messages[400])
            queue.commit()
            assert queue.storage.problem() is None
            assert queue.storage.durable
        with opened(folder / "outbox.db") as queue:
            assert everything(queue) == messages[390:]


def test_a_hanging_disk_holds_up_nobody_but_the_writer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, released = threading.Event(), threading.Event()
    write = sqlite_file.write

    def hang(*arguments: object) -> None:
        hanging.set()
        assert released.wait(20)
        write(*arguments)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(sqlite_file, "write", hang)
    with opened(path) as queue:
        queue.append(make_parcel(0))
        writer = threading.Thread(target=queue.commit)
        writer.start()
        assert hanging.wait(10)
        began = time.monotonic()
        for number in range(1, 50):
            queue.append(make_parcel(number))
        assert len(queue.next_batch("redis", 100, 10**9)) == 50
        queue.acknowledge("redis", 9)
        assert (queue.size > 0, queue.oldest_age() >= 0, queue.storage.durable) == (True, True, True)
        assert time.monotonic() - began < 2.0, "it waited for the disk"
        monkeypatch.setattr("monitor.delivery.sqlite_storage._SLOW", 0.0)
        assert "the disk has not answered" in str(queue.storage.problem())
        assert not queue.storage.durable
        released.set()
        writer.join()
    monkeypatch.undo()
    with opened(path) as queue:
        assert everything(queue) == [make_parcel(number) for number in range(10, 50)]


def test_a_read_error_of_one_row_does_not_count_as_a_loss(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, 5)
    with opened(path) as queue:
        read = sqlite_file.read_message
        bad = [3]

        def fail(connection: sqlite3.Connection, number: int) -> object:
            if number in bad:
                raise sqlite3.OperationalError("disk I/O error")
            return read(connection, number)

        monkeypatch.setattr(sqlite_file, "read_message", fail)
        assert [entry.message for entry in queue.next_batch("redis", 9, 10**9)] == [
            make_parcel(0),
            make_parcel(1),
        ]
        queue.acknowledge("redis", -4)
        with pytest.raises(StorageReadError, match="disk I/O error"):
            queue.next_batch("redis", 9, 10**9)
        assert not queue.drops.pending
        bad.clear()
        assert everything(queue) == [make_parcel(number) for number in range(2, 5)]


def test_a_row_that_never_can_be_read_is_reported_as_lost_and_not_delivered_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, 3)
    with opened(path) as queue:

        def fail(connection: sqlite3.Connection, number: int) -> object:
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patched:
            patched.setattr(sqlite_file, "read_message", fail)
            for _ in range(9):
                with pytest.raises(StorageReadError):
                    queue.next_batch("redis", 1, 10**9)
            assert queue.next_batch("redis", 1, 10**9) == []
        (report,) = queue.drops.pop_all()
        assert (report.cause, report.camera, report.events) == ("outbox-damaged", "top", 1)
        assert report.started_at == make_parcel(0).captured_at
        assert everything(queue) == [make_parcel(1), make_parcel(2)]


@pytest.mark.parametrize("content", ["empty", "text", "another database"])
def test_a_file_that_is_no_outbox_is_set_aside_untouched(
    path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    if content == "another database":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE theirs (x)")
        other.close()
    else:
        path.write_bytes(b"" if content == "empty" else b"nothing of the kind" * 1000)
    before = path.read_bytes()
    with opened(path) as queue:
        queue.append(make_parcel(0))
        queue.commit()
        assert everything(queue) == [make_parcel(0)]
        assert queue.storage.durable
        (report,) = queue.drops.pop_all()
        assert (report.cause, report.camera, report.events) == ("outbox-damaged", "*", 0)
        assert "may have held more" in str(report.detail)
    aside = min(path.parent.glob("outbox.db.damaged-*"))  # SQLite's own files beside it have longer names
    if content != "another database":
        assert aside.read_bytes() == before
    assert any("outbox file damaged" in message for message in caplog.messages)


def test_a_damaged_file_is_set_aside_and_what_it_held_is_reported(path: Path) -> None:
    filled(path, 40)
    data = bytearray(path.read_bytes())
    with sqlite3.connect(path) as file:
        page = file.execute("PRAGMA page_size").fetchone()[0]
    last = len(data) // page - 1
    data[last * page : last * page + 8] = b"\xff" * 8  # the header of the last page
    path.write_bytes(data)
    with opened(path) as queue:
        assert everything(queue) == []
        reports = {report.camera: report for report in queue.drops.pop_all()}
        assert 0 < reports["top"].events <= 40
        assert reports["top"].started_at == make_parcel(0).captured_at
    assert len(list(path.parent.glob("outbox.db.damaged-*"))) >= 1


def test_damage_that_shows_while_running_costs_what_is_on_the_disk_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, 3)
    now = [0.0]
    with opened(path, clock=lambda: now[0]) as queue:
        queue.append(make_parcel(3))
        write = sqlite_file.write

        def damaged(*arguments: object) -> None:
            monkeypatch.setattr(sqlite_file, "write", write)
            path.write_bytes(b"overwritten" * 1000)
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

        monkeypatch.setattr(sqlite_file, "write", damaged)
        queue.commit()
        now[0] += 60
        queue.commit()
        assert queue.storage.durable
        assert everything(queue) == [make_parcel(3)]
        (report,) = queue.drops.pop_all()
        assert (report.cause, report.events) == ("outbox-damaged", 3)
    with opened(path) as queue:
        assert everything(queue) == [make_parcel(3)]


def test_a_file_cut_off_anywhere_starts_and_reports_its_loss(path: Path) -> None:
    check_cuts(path, 25, random.Random(6))


@pytest.mark.parametrize("missing", [1, 621, 2000, 4095])
def test_a_file_without_the_end_of_its_last_page_is_set_aside(path: Path, missing: int) -> None:
    """SQLite reads the missing bytes as zeros, and its own check finds nothing wrong with most of them."""
    filled(path, 60)
    whole = path.read_bytes()
    path.write_bytes(whole[:-missing])
    with opened(path) as queue:
        assert everything(queue) == []
    assert list(path.parent.glob("outbox.db.damaged-*"))


def test_what_was_set_aside_is_stored_with_its_reason(path: Path) -> None:
    with opened(path) as queue:
        for number in range(2):
            queue.append(make_parcel(number))
        batch = queue.next_batch("redis", 2, 10**9)
        queue.set_aside("redis", [(batch[0], "UnicodeEncodeError: a reason")])
        queue.commit()
        ((_, sink, reason),) = read_set_aside(path)
        assert (sink, reason) == ("redis", "UnicodeEncodeError: a reason")
        assert everything(queue) == [make_parcel(1)]
        (report,) = queue.drops.pop_all()
        assert (report.cause, report.events, report.started_at) == (
            "outbox-set-aside",
            1,
            make_parcel(0).captured_at,
        )
    with sqlite3.connect(path) as file:
        ((image,),) = file.execute("SELECT annotated FROM set_aside")
    assert image == make_parcel(0).annotated_jpeg


def test_nothing_is_written_where_nothing_has_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as queue:
        queue.append(make_parcel(0))
        assert queue.storage.has_changes
        queue.commit()
        assert not queue.storage.has_changes
        monkeypatch.setattr(sqlite_file, "write", lambda *_: pytest.fail("it was written"))
        queue.commit()
        queue.next_batch("redis", 1, 10**9)
        queue.release("redis")
        queue.commit()


def test_memory_alone_keeps_messages_and_is_not_durable() -> None:
    queue = OutboxQueue(("redis",))
    key = queue.append(make_parcel(0), state={"incidents": "x"})
    queue.commit()
    assert everything(queue) == [make_parcel(0)]
    assert (queue.storage.durable, queue.storage.unwritten, queue.storage.is_settled(key)) == (False, 1, True)
    assert (queue.storage.state("incidents"), queue.storage.problem()) == ("x", None)
