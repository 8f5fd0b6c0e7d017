"""Which files of a folder are images, whatever else lies there."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import DataError, SettingsError, printable
from monitor.imaging.folders import expand_pattern, find_images, is_leftover, natural_sort_key

LEFT_BEHIND = [
    "._1.png",
    ".DS_Store",
    ".hidden.png",
    "Thumbs.db",
    "desktop.ini",
    "Desktop.ini",
    "__MACOSX/1.png",
    ".ipynb_checkpoints/1-checkpoint.png",
    "@eaDir/1.png",
    "@Recycle/1.png",
    "@Recently-Snapshot/1.png",
    "__pycache__/1.png",
    ".AppleDouble/1.png",
    "$RECYCLE.BIN/1.png",
]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def names(paths: tuple[Path, ...], folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in paths]


@pytest.mark.parametrize("recursive", [False, True])
def test_what_platforms_leave_behind_is_ignored(tmp_path: Path, recursive: bool):
    write(tmp_path, "1.png", "2.PNG", "10.Jpg", *LEFT_BEHIND)
    found = find_images(tmp_path, recursive=recursive)
    assert names(found.images, tmp_path) == ["1.png", "2.PNG", "10.Jpg"]
    assert found.others == ()
    assert found.others_summary is None


def test_other_entries_are_counted_and_named(tmp_path: Path):
    write(tmp_path, "1.png", "notes.txt", "clip.mp4", "night/1.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to("nowhere")
    found = find_images(tmp_path)
    assert names(found.images, tmp_path) == ["1.png", "gone.png"], "a broken link is reported when it is read"
    assert names(found.others, tmp_path) == ["clip.mp4", "folder.png", "night", "notes.txt", "pipe.png"]
    assert found.others_summary == "5 other entries: clip.mp4, folder.png, night, notes.txt, pipe.png"


def test_folders_inside_are_searched_on_request_and_links_do_not_loop(tmp_path: Path):
    write(tmp_path, "a/1.png", "a/b/2.png", "c.txt")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    found = find_images(tmp_path, recursive=True)
    assert names(found.images, tmp_path) == ["a/1.png", "a/b/2.png"]
    assert names(found.others, tmp_path) == ["c.txt"]


@pytest.mark.parametrize("name", ["batch [A] 2024", "lot [7]", "what?", "all*", "[!a]", "**"])
def test_a_folder_that_exists_is_no_pattern(tmp_path: Path, name: str):
    write(tmp_path, f"{name}/1.png", f"{name}/[2].png", "batch A 2024/3.png", "lot 7/4.png", "whatx/5.png")
    write(tmp_path, "b/6.png", "allen/7.png")
    folder = tmp_path / name
    assert names(find_images(folder).images, folder) == ["1.png", "[2].png"]
    assert names(find_images(f"{folder}/[2].png").images, folder) == ["[2].png"]
    assert names(find_images(f"{folder}/*.png").images, folder) == ["1.png", "[2].png"]
    assert names(find_images(f"{folder}/[0-9].png").images, folder) == ["1.png"]


def test_a_pattern_matches_where_nothing_has_its_name(tmp_path: Path):
    write(tmp_path, "a/1.png", "a/2.png", "b/3.png", "b/x.txt", "b/Thumbs.db", "c/raw", "c/raw2")
    assert names(find_images(f"{tmp_path}/*/*.png").images, tmp_path) == ["a/1.png", "a/2.png", "b/3.png"]
    found = find_images(f"{tmp_path}/b/*")
    assert names(found.images, tmp_path) == ["b/3.png"]
    assert names(found.others, tmp_path) == ["b/x.txt"]
    assert names(find_images(f"{tmp_path}/c/*").images, tmp_path) == ["c/raw", "c/raw2"]
    assert len(find_images(f"{tmp_path}/**/*.png").images) == 3
    assert find_images(f"{tmp_path}/none*").images == ()
    assert expand_pattern("x" * 5000) == []


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1), unique=True))
def test_any_names_can_be_sorted(given_names: list[str]):
    paths = [Path(name) for name in given_names]
    backwards = paths[::-1]
    assert sorted(paths, key=natural_sort_key) == sorted(backwards, key=natural_sort_key)


@pytest.mark.parametrize("name", ["1.png", "good", "_1.png", "MACOSX", "thumbs.png", "desktop"])
def test_ordinary_names_are_no_leftovers(name: str):
    assert not is_leftover(name)


@given(st.text(st.characters(exclude_categories=())))
def test_printable_text_is_one_line_of_valid_unicode(text: str):
    shown = printable(text)
    shown.encode("utf-8")
    assert shown.isprintable()
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


def test_a_name_that_is_not_utf8_is_shown_by_its_bytes():
    name = os.fsdecode(b"gr\xfcn.png")
    assert printable(name) == "gr\\xfcn.png"
    assert str(DataError(f"{name}: damaged")) == "gr\\xfcn.png: damaged"
    assert SettingsError(f"{name}: a", "b").mistakes == ("gr\\xfcn.png: a", "b")
    assert str(SettingsError(f"{name}: a", "b")) == "gr\\xfcn.png: a\nb"
