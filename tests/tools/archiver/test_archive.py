"""Daily folders of events on a real disk: once each, whole, within the budget, nothing removed silently."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events.event import Event
from monitor.tools.archiver.archive import Archive, ArchiveError
from monitor.tools.archiver.event_folder import EventFolder
from tests.support.events import make_event


@pytest.fixture
def open_archive(tmp_path: Path) -> Iterator[Callable[[int], Archive]]:
    """Open the archive in the test's folder; the one before is closed first."""
    with ExitStack() as stack:

        def open_(max_bytes: int = 10**6) -> Archive:
            stack.close()
            return stack.enter_context(closing(Archive(tmp_path, max_bytes)))

        yield open_


def event_on(day: int, number: int = 0) -> Event:
    event = make_event(number)
    return event.model_copy(update={"captured_at": event.captured_at + timedelta(days=day)})


def lines_of(folder: Path) -> list[str]:
    path = folder / "events.jsonl"
    return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []


def notices_of(folder: Path) -> list[dict[str, str | int]]:
    path = folder / "notices.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_an_event_lies_in_the_folder_of_its_day_with_its_images(
    open_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = open_archive()
    event = event_on(0)
    assert archive.store(event, b"annotated", b"raw")
    day = tmp_path / "2026-11-23"
    assert (day / "events.jsonl").read_text() == event.to_json() + "\n"
    assert (day / "frames" / f"{event.id}.jpg").read_bytes() == b"annotated"
    assert (day / "raw" / f"{event.id}.jpg").read_bytes() == b"raw"
    assert archive.size == sum(path.stat().st_size for path in day.rglob("*") if path.is_file())


def test_an_event_that_comes_again_is_stored_once_also_after_a_restart(
    open_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = open_archive()
    assert archive.store(event_on(0), b"x", None)
    assert not archive.store(event_on(0), b"x", None)
    size = archive.size
    archive = open_archive()
    assert archive.size == size
    assert not archive.store(event_on(0), b"x", None)
    assert len(lines_of(tmp_path / "2026-11-23")) == 1


def test_a_crash_in_the_middle_of_an_event_leaves_it_to_be_stored_again(
    open_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    """The image is half written, or the line is: its event was not acknowledged and comes again."""
    archive = open_archive()
    archive.store(event_on(0, 1), b"x", None)
    archive.close()
    day = tmp_path / "2026-11-23"
    (day / "frames" / "half.part").write_bytes(b"x" * 100)
    with (day / "events.jsonl").open("a") as lines:
        lines.write(event_on(0, 2).to_json()[:50])
    archive = open_archive()
    assert not (day / "frames" / "half.part").exists()
    assert archive.store(event_on(0, 2), b"y", None)
    whole, cut_off, again = (day / "events.jsonl").read_text().splitlines()
    assert whole == event_on(0, 1).to_json()
    assert again == event_on(0, 2).to_json()
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(cut_off)


def test_the_oldest_day_makes_room_and_a_notice_says_so(
    open_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = open_archive(25_000)
    for day in range(3):
        for number in range(2):
            assert archive.store(event_on(day, number), b"x" * 4_500, None)
    assert [path.name for path in sorted(tmp_path.glob("2026-*"))] == ["2026-11-24", "2026-11-25"]
    (notice,) = notices_of(tmp_path)
    assert (notice["kind"], notice["day"], notice["events"]) == ("removed", "2026-11-23", 2)
    assert archive.removed_events == 2


def test_the_newest_day_is_never_removed_but_the_archive_is_full(
    open_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = open_archive(10_000)
    archive.store(event_on(0, 0), b"x" * 5_000, None)
    with pytest.raises(ArchiveError, match=r"is full.*raise --max-bytes") as caught:
        archive.store(event_on(0, 1), b"x" * 5_000, None)
    assert caught.value.is_full
    assert len(lines_of(tmp_path / "2026-11-23")) == 1
    archive.max_bytes = 20_000
    assert archive.store(event_on(0, 1), b"x" * 5_000, None)


def test_a_late_event_of_the_oldest_day_removes_no_newer_one(
    open_archive: Callable[..., Archive], tmp_path: Path
) -> None:
    archive = open_archive(10_000)
    archive.store(event_on(5, 0), b"x" * 3_000, None)
    archive.store(event_on(6, 1), b"x" * 3_000, None)
    assert not archive.store(event_on(0, 2), b"x" * 3_000, None)
    assert [path.name for path in sorted(tmp_path.glob("2026-*"))] == ["2026-11-28", "2026-11-29"]
    assert [notice["events"] for notice in notices_of(tmp_path)] == [1]


@given(
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5_000), st.booleans()), max_size=25),
    budget=st.integers(3_000, 30_000),
)
def test_every_event_is_stored_once_or_counted_as_removed(
    steps: list[tuple[int, int, bool]], budget: int
) -> None:
    with TemporaryDirectory() as name:
        root = Path(name)
        archive = Archive(root, budget)
        taken = 0
        removed = 0
        for number, (day, size, restart) in enumerate(steps):
            with suppress(ArchiveError):
                archive.store(event_on(day, number), b"x" * size, None)
                taken += 1
            assert archive.size <= budget
            if restart:
                removed += archive.removed_events
                archive.close()
                archive = Archive(root, budget)
        archive.close()
        removed += archive.removed_events
        stored = [identity for day in root.glob("2026-*") for identity in lines_of(day)]
        assert max(Counter(stored).values(), default=1) == 1
        assert len(stored) + removed == taken
        assert sum(notice["events"] for notice in notices_of(root)) == removed
        files = [path for path in root.glob("2026-*/**/*") if path.is_file()]
        assert archive.size == sum(path.stat().st_size for path in files)


def test_two_archivers_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with closing(Archive(tmp_path, 10**6)), pytest.raises(ArchiveError, match="another archiver"):
        Archive(tmp_path, 10**6)
    Archive(tmp_path, 10**6).close()


def test_a_folder_that_cannot_be_made_is_one_sentence() -> None:
    with pytest.raises(ArchiveError, match="cannot write to the archive /dev/null/x: Not a directory"):
        Archive(Path("/dev/null/x"), 10**6)


FULL_DISK = """
import sys, resource
from pathlib import Path
from monitor.tools.archiver.event_folder import EventFolder
from tests.support.events import make_event
folder = EventFolder(Path(sys.argv[1]))
folder.add(make_event(0), None)
size = Path(sys.argv[1], "events.jsonl").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    folder.add(make_event(1), None)
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
folder.add(make_event(1), None)
"""


def test_a_disk_that_is_full_within_a_line_leaves_no_part_of_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    assert done.stdout == "File too large\n"
    assert lines_of(tmp_path) == [make_event(0).id, make_event(1).id]
    assert len(EventFolder(tmp_path)) == 2
