"""What is cached for the next start: found again, built again when damaged, never half there."""

import os
from pathlib import Path
from typing import Any

import pytest

from monitor.inference.artifact_cache import cached_artifact, find_cache_dir


class CountingBuilder:
    """Writes one file, in a folder of its own, and counts."""

    def __init__(self, content: bytes = b"graph", fails: bool = False) -> None:
        self.calls = 0
        self._content = content
        self._fails = fails

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.calls += 1
        (folder / "saved").mkdir()
        (folder / "saved" / "file.pb").write_bytes(self._content)
        if self._fails:
            raise RuntimeError("no")
        return {"expected": [0.5]}


def kept(folder: Path | None, parts: dict[str, Any], make: CountingBuilder) -> tuple[bytes, Any]:
    with cached_artifact(folder, parts, make) as (path, remembered):
        return (path / "saved" / "file.pb").read_bytes(), remembered["expected"]


def test_an_entry_is_made_once_for_what_it_depends_on(tmp_path: Path) -> None:
    make = CountingBuilder()
    assert (
        kept(tmp_path, {"version": "1"}, make) == kept(tmp_path, {"version": "1"}, make) == (b"graph", [0.5])
    )
    assert make.calls == 1
    kept(tmp_path, {"version": "2"}, make)
    assert make.calls == 2


@pytest.mark.parametrize("how", ["altered", "gone", "record cut", "record of another kind"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, how: str) -> None:
    make = CountingBuilder()
    kept(tmp_path, {}, make)
    (folder,) = tmp_path.iterdir()
    if how == "altered":
        (folder / "saved" / "file.pb").write_bytes(b"grapf")
    elif how == "gone":
        (folder / "saved" / "file.pb").unlink()
    elif how == "record cut":
        (folder / "entry.json").write_text('{"files": {"fil')
    else:
        (folder / "entry.json").write_text("[1]")
    assert kept(tmp_path, {}, make) == (b"graph", [0.5])
    assert make.calls == 2
    kept(tmp_path, {}, make)
    assert make.calls == 2


def test_what_fails_to_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no"):
        kept(tmp_path, {}, CountingBuilder(fails=True))
    assert not list(tmp_path.iterdir())


def test_without_a_folder_it_is_made_for_the_moment() -> None:
    make = CountingBuilder()
    with cached_artifact(None, {}, make) as (path, _):
        assert (path / "saved" / "file.pb").read_bytes() == b"graph"
    assert not path.exists()
    kept(None, {}, make)
    assert make.calls == 2


def test_entries_longest_unused_give_way(tmp_path: Path) -> None:
    make = CountingBuilder()
    for number in range(12):
        kept(tmp_path, {"number": number}, make)
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    assert len(list(tmp_path.iterdir())) == 8
    calls = make.calls
    kept(tmp_path, {"number": 11}, make)
    assert make.calls == calls


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A folder in which nothing can be made, also for root: a file is in the way."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / ".ready").write_text("")
    return bundle


def test_a_service_keeps_it_where_systemd_says(tmp_path: Path) -> None:
    wanted = str(tmp_path / "cache")
    assert find_cache_dir(tmp_path, {"CACHE_DIRECTORY": wanted, "HOME": "/nowhere"}) == Path(wanted)


def test_else_it_is_kept_beside_the_bundle(tmp_path: Path) -> None:
    assert find_cache_dir(tmp_path, {"HOME": "/nowhere"}) == tmp_path / ".ready"


def test_beside_a_bundle_that_cannot_be_written_the_users_cache_serves(
    tmp_path: Path, read_only: Path
) -> None:
    xdg = tmp_path / "xdg"
    assert (
        find_cache_dir(read_only, {"XDG_CACHE_HOME": str(xdg), "HOME": "/nowhere"}) == xdg / "defect-monitor"
    )
    home = tmp_path / "home"
    assert find_cache_dir(read_only, {"HOME": str(home)}) == home / ".cache" / "defect-monitor"
    assert find_cache_dir(read_only, {}) is None
