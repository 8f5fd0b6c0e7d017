"""Where the outbox lies, and what frames are shared in."""

import time
from collections.abc import Callable
from pathlib import Path

from monitor.tools.doctor.resources import available_bytes, check_outbox_disk, check_shared_memory

Mount = Callable[[str], Path]


def test_a_good_folder_is_ok_and_left_as_it_was(tmp_path: Path) -> None:
    answer = check_outbox_disk(tmp_path / "outbox.db", max_bytes=1_000_000, power=True)
    assert answer.result == "ok", answer
    assert float(answer.figures["fsync_ms"]) > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_still_to_be_made_is_ok_and_not_made(tmp_path: Path) -> None:
    answer = check_outbox_disk(tmp_path / "a" / "b" / "outbox.db", max_bytes=1_000_000, power=True)
    assert answer.result == "ok", answer
    assert list(tmp_path.iterdir()) == []


def test_without_a_path_it_is_said_that_memory_alone_keeps_events() -> None:
    answer = check_outbox_disk(None, max_bytes=1_000_000, power=True)
    assert answer.result == "skipped"
    assert "outbox.path" in answer.remedy


def test_a_file_in_place_of_the_folder_is_not_ok(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = check_outbox_disk(tmp_path / "file" / "outbox.db", max_bytes=1_000_000, power=True)
    assert answer.result == "not ok"
    assert "cannot be written" in answer.message


def test_a_read_only_disk_is_not_ok(mount: Mount) -> None:
    answer = check_outbox_disk(mount("ro") / "outbox.db", max_bytes=1_000_000, power=True)
    assert answer.result == "not ok"
    assert "Read-only" in answer.message


def test_a_full_disk_is_not_ok(mount: Mount) -> None:
    folder = mount("size=256k")
    (folder / "much").write_bytes(bytes(200_000))
    answer = check_outbox_disk(folder / "outbox.db", max_bytes=1_000_000, power=True)
    assert answer.result == "not ok"
    assert "No space left" in answer.message


def test_a_disk_smaller_than_the_outbox_may_grow_is_not_ok(mount: Mount) -> None:
    folder = mount("size=64m")
    answer = check_outbox_disk(folder / "outbox.db", max_bytes=256_000_000, power=True)
    assert answer.result == "not ok"
    assert "less than outbox.max_bytes (256 MB)" in answer.message


def test_what_the_outbox_has_taken_already_counts_as_room(mount: Mount) -> None:
    folder = mount("size=64m")
    (folder / "outbox.db").write_bytes(bytes(30_000_000))
    assert check_outbox_disk(folder / "outbox.db", max_bytes=30_000_000, power=True).result == "ok"


def test_a_slow_disk_is_not_ok_where_each_event_is_synced(tmp_path: Path) -> None:
    def slow(_: int) -> None:
        time.sleep(0.12)

    answer = check_outbox_disk(tmp_path / "o.db", max_bytes=1_000_000, power=True, fsync=slow)
    assert answer.result == "not ok"
    assert 'outbox.sync = "process"' in answer.remedy
    assert check_outbox_disk(tmp_path / "o.db", max_bytes=1_000_000, power=False, fsync=slow).result == "ok"


def test_memory_that_is_there_can_be_shared() -> None:
    answer = check_shared_memory(50_000_000)
    assert answer.result == "ok", answer
    assert answer.figures["needed_bytes"] == 50_000_000


def test_queued_flagged_frames_count_as_needed_memory() -> None:
    answer = check_shared_memory(1_000_000, 2 * available_bytes())
    assert answer.result == "not ok"
    assert "explain.queue_bytes" in answer.remedy


def test_more_memory_than_there_is_is_not_ok() -> None:
    answer = check_shared_memory(2 * available_bytes())
    assert answer.result == "not ok"
    assert "`buffer`" in answer.remedy
