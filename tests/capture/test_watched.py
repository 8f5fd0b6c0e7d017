"""A watched folder: each new file once, when it is complete, over restarts."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.capture.sources.base import NoFrameYet
from monitor.capture.sources.inspected_files import FileVersion, InspectedFiles
from monitor.capture.sources.watched import GIVE_UP_AFTER, SETTLE_TIME, WatchedFolderSource
from monitor.errors import ImageError, SourceError

OLD = 1_600_000_000


class Folder:
    """A folder, its watcher on a clock of its own, and what the watcher found."""

    def __init__(self, path: Path, state: Path | None) -> None:
        self.path, self.state, self.now = path, state, 1000.0
        path.mkdir(exist_ok=True)
        self.found: list[str] = []
        self.source = self.open()

    def open(self) -> WatchedFolderSource:
        return WatchedFolderSource(str(self.path), InspectedFiles(self.state), clock=lambda: self.now)

    def restart(self) -> None:
        self.source.close()
        self.source = self.open()

    def image(self, level: int = 100, ending: str = ".png") -> bytes:
        shape = (16, 16) if ending == ".pgm" else (16, 16, 3)
        return bytes(cv2.imencode(ending, np.full(shape, level, np.uint8))[1])

    def write(self, name: str, data: bytes | None = None, *, old: bool = False) -> Path:
        path = self.path / name
        path.write_bytes(self.image() if data is None else data)
        if old:
            os.utime(path, (OLD, OLD))
        return path

    def read(self, seconds: float = 2.0, *, confirm: bool = True) -> list[str]:
        """Names that come within `seconds`; of unreadable files with an exclamation mark."""
        names = []
        until = self.now + seconds
        while self.now < until:
            try:
                self.source.read()
                names.append(str(self.source.origin.name))
            except NoFrameYet as pause:
                self.now += pause.seconds + 0.01
                continue
            except ImageError:
                names.append(f"{self.source.origin.name}!")
            if confirm and self.source.origin.receipt is not None:
                self.source.origin.receipt()
        return names


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[], Folder]:
    return lambda: Folder(tmp_path / "watched [1]", tmp_path / "state" / "inspected.db")


@pytest.fixture
def folder(make_folder: Callable[[], Folder]) -> Folder:
    return make_folder()


def test_files_that_are_there_and_that_come_are_read_once(folder: Folder):
    folder.write("2.png", old=True)
    folder.write("10.PNG", old=True)
    folder.write("._2.png", b"\0\5\x16\7")
    folder.write("notes.txt", b"")
    assert folder.read() == ["2.png", "10.PNG"]
    folder.write("3.png")
    assert folder.read() == ["3.png"]
    assert folder.read(60) == []


def test_a_restart_does_not_read_again_what_was_inspected(folder: Folder):
    folder.write("1.png", old=True)
    assert folder.read() == ["1.png"]
    folder.restart()
    folder.write("2.png")
    assert folder.read() == ["2.png"]
    folder.restart()
    assert folder.read() == []


def test_what_was_read_but_not_inspected_is_read_again_after_a_restart(folder: Folder):
    folder.write("1.png", old=True)
    assert folder.read(confirm=False) == ["1.png"]
    assert folder.read() == [], "not twice in one run"
    folder.restart()
    assert folder.read() == ["1.png"]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif", ".webp", ".pgm"])
def test_a_file_that_is_still_written_is_not_read(folder: Folder, ending: str):
    data = folder.image(ending=ending)
    path = folder.write(f"a{ending}", data[: len(data) // 2])
    assert folder.read(5) == [], "half a file that does not grow"
    with path.open("ab") as file:
        file.write(data[len(data) // 2 :])
    assert folder.read() == [f"a{ending}"]


def test_a_file_must_not_change_for_a_while_before_it_is_read(folder: Folder):
    for level in range(8):
        path = folder.write("a.png", folder.image(level * 10))
        os.utime(path, ns=(level * 1_000_000, path.stat().st_mtime_ns + level * 1_000_000))
        assert folder.read(SETTLE_TIME * 0.6) == []
    assert folder.read() == ["a.png"]


def test_a_file_that_was_moved_into_place_is_read_at_the_next_listing(folder: Folder):
    assert folder.read(1) == []
    part = folder.write("a.png.part", old=True)
    assert folder.read(1) == []
    part.rename(folder.path / "a.png")
    assert folder.read(0.6) == ["a.png"]


def test_a_file_that_stays_unreadable_is_reported_once_and_again_when_it_changes(folder: Folder):
    folder.write("a.png", folder.image()[:-20])
    assert folder.read(GIVE_UP_AFTER - 2) == []
    assert folder.read(4) == ["a.png!"]
    assert folder.read(2 * GIVE_UP_AFTER) == []
    folder.restart()
    assert folder.read(2 * GIVE_UP_AFTER) == []
    folder.write("a.png")
    assert folder.read() == ["a.png"]


def test_a_changed_file_and_a_new_one_under_an_old_name_are_new(folder: Folder):
    path = folder.write("a.png", old=True)
    assert folder.read() == ["a.png"]
    folder.write("a.png", folder.image(7))
    assert folder.read() == ["a.png"]
    other = folder.write("b.tmp", folder.image(8), old=True)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    assert folder.read() == ["a.png"], "same name, size and time, another inode"


def test_a_broken_link_and_a_file_without_access_are_reported(folder: Folder):
    (folder.path / "gone.png").symlink_to("nowhere.png")
    assert folder.read(GIVE_UP_AFTER + 3) == ["gone.png!"]
    folder.write("nowhere.png", old=True)
    assert sorted(folder.read()) == ["gone.png", "nowhere.png"]


def test_a_name_that_is_not_utf8_is_escaped_and_remembered(folder: Folder):
    folder.write(os.fsdecode(b"gr\xfcn.png"), old=True)
    assert folder.read() == ["gr\\xfcn.png"]
    folder.restart()
    assert folder.read() == []


def test_a_folder_that_vanishes_fails_and_comes_back_without_repetition(folder: Folder):
    folder.write("a.png", old=True)
    assert folder.read() == ["a.png"]
    away = folder.path.with_name("away")
    folder.path.rename(away)
    with pytest.raises(SourceError) as caught:
        folder.read()
    assert caught.value.cause == "not-found"
    folder.source.close()
    folder.path.mkdir()  # a mount point without its mount
    folder.source = folder.open()
    assert folder.read() == []
    folder.path.rmdir()
    away.rename(folder.path)
    folder.restart()
    assert folder.read() == []


def test_a_damaged_list_is_set_aside_and_files_are_inspected_again(
    folder: Folder, caplog: pytest.LogCaptureFixture
):
    folder.write("a.png", old=True)
    assert folder.read() == ["a.png"]
    folder.source.close()
    assert folder.state is not None
    folder.state.write_bytes(b"not a database" * 100)
    folder.source = folder.open()
    assert folder.read() == ["a.png"]
    assert "damaged" in caplog.text
    folder.restart()
    assert folder.read() == []


def test_a_list_that_cannot_be_stored_does_not_stop_inspection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("")
    folder = Folder(tmp_path / "watched", tmp_path / "file" / "inspected.db")
    folder.write("a.png", old=True)
    assert folder.read() == ["a.png"]
    assert "cannot be stored" in caplog.text


def test_old_records_of_files_that_are_gone_are_forgotten(tmp_path: Path):
    store = InspectedFiles(tmp_path / "a.db")
    for name in ("old", "fresh", "there"):
        store.add(Path(name), FileVersion(1, 2, 2**63 + 3))
    with sqlite3.connect(tmp_path / "a.db") as file:
        file.execute("UPDATE inspected SET at = 0 WHERE name != ?", (b"fresh",))
    store.forget_missing([Path("there")])
    store.close()
    again = InspectedFiles(tmp_path / "a.db")
    assert [(Path(name), FileVersion(1, 2, 2**63 + 3)) in again for name in ("old", "fresh", "there")] == [
        False,
        True,
        True,
    ]
    again.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 4)),
            st.tuples(st.just("move"), st.integers(0, 4)),
            st.tuples(st.just("restart"), st.just(0)),
            st.tuples(st.just("pause"), st.integers(1, 5)),
        ),
        max_size=12,
    )
)
def test_every_version_is_inspected_exactly_once_whatever_happens(
    tmp_path: Path, steps: list[tuple[str, int]]
):
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    folder = Folder(tmp_path / "watched", tmp_path / "inspected.db")
    expected: list[str] = []
    found: list[str] = []
    moment = OLD
    for step, value in steps:
        moment += 1
        if step in ("write", "move"):
            found += folder.read()  # a version that is replaced before it was read cannot be inspected
            path = folder.write(f"{value}.png" if step == "write" else "x.tmp")
            os.utime(path, (moment, moment))
            if step == "move":
                path.replace(folder.path / f"{value}.png")
            expected.append(f"{value}.png")
        elif step == "restart":
            folder.restart()
        else:
            found += folder.read(value)
    found += folder.read()
    folder.source.close()
    assert sorted(found) == sorted(expected)


def test_a_file_of_several_pages_is_inspected_when_all_its_pages_are(folder: Folder):
    pages = [np.full((16, 16, 3), level, np.uint8) for level in (10, 20, 30)]
    folder.write("scan.tif", bytes(cv2.imencodemulti(".tif", pages)[1]), old=True)
    folder.restart()
    folder.source.read()
    receipt = folder.source.origin.receipt
    assert receipt is not None
    receipt()
    folder.restart()
    names = ["scan.tif#page=1", "scan.tif#page=2", "scan.tif#page=3"]
    assert folder.read() == names, "a file that was inspected in part is inspected again"
    folder.restart()
    assert folder.read() == []
