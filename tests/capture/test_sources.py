"""One suite over every kind of source: what is promised of one is promised of all."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monitor.capture.sources.base import Source, StampedSource
from monitor.capture.sources.opening import open_source
from monitor.errors import ImageError, SourceError
from monitor.imaging.folders import natural_sort_key
from monitor.records import Image
from tests.capture.conftest import COUNT, write_video
from tests.support.scripted_camera import make

Opener = Callable[..., Source]

FINITE = ["folder", "glob", "video"]
ENOUGH = 3


@pytest.fixture(params=[*FINITE, "rtsp", "simulate", "device"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opener(kind: str, request: pytest.FixtureRequest) -> Opener:
    match kind:
        case "folder" | "video":
            text = str(request.getfixturevalue(kind))
        case "glob":
            text = f"{request.getfixturevalue('folder')}/*.png"
        case "rtsp":
            text = request.getfixturevalue("rtsp").url
        case "simulate":
            text = "simulate:?seed=3&size=128x96&defect_rate=0.5"
        case _:
            text = "/dev/video0"
            if not Path(text).exists():
                pytest.skip(f"no camera on this machine: {text} is missing")
    return lambda **options: open_source(text, **options)


def test_pictures_are_colour_and_of_one_size(opener: Opener):
    source = opener()
    images = [source.read() for _ in range(5)]
    source.close()
    assert all(image is not None for image in images)
    assert {image.dtype for image in images} == {np.dtype(np.uint8)}
    assert all(image.flags.c_contiguous and image.shape[2] == 3 for image in images)
    assert len({image.shape for image in images}) == 1


@pytest.mark.parametrize("kind", [*FINITE, "rtsp"], indirect=True)
def test_pictures_come_in_order_and_look_as_they_were_sent(kind: str, opener: Opener, pictures: list[Image]):
    source = opener()
    exact = kind in ("folder", "glob")
    for number in range(COUNT):
        got = source.read()
        assert got is not None
        away = [np.abs(got.astype(int) - sent).mean() for sent in pictures]
        assert away.index(min(away)) == number
        assert away[number] <= (0 if exact else 6)
    source.close()


def test_a_stream_and_a_device_stamp_their_frames(kind: str, opener: Opener):
    source = opener()
    stamps = [
        source.stamp for _ in range(10) if source.read() is not None and isinstance(source, StampedSource)
    ]
    source.close()
    if kind not in ("rtsp", "device"):
        assert not any(stamp and stamp.source_time for stamp in stamps)
        return
    steps = np.diff([stamp.source_time for stamp in stamps[1:] if stamp and stamp.source_time is not None])
    assert len(steps) == 8, "only the first frame of a stream may come without its time"
    assert steps.min() > 0
    if kind == "rtsp":
        np.testing.assert_allclose(steps, 1 / 20, atol=0.002)


@pytest.mark.parametrize("kind", FINITE, indirect=True)
def test_a_finite_source_ends_and_stays_at_its_end(opener: Opener):
    source = opener()
    assert not source.live
    assert [source.read() is None for _ in range(COUNT + 2)] == [False] * COUNT + [True] * 2
    source.close()


@pytest.mark.parametrize("kind", FINITE, indirect=True)
def test_a_loop_begins_again_with_the_first_picture(opener: Opener):
    source = opener(loop=True)
    assert source.live
    rounds = [[source.read() for _ in range(COUNT)] for _ in range(3)]
    source.close()
    for later in rounds[1:]:
        for once, again in zip(rounds[0], later, strict=True):
            np.testing.assert_array_equal(once, again)


def test_closing_twice_is_no_fault(opener: Opener):
    source = opener()
    source.read()
    source.close()
    source.close()


def test_a_camera_takes_numbered_frames_from_it_and_counts_the_rest(opener: Opener):
    camera, listener = make(lambda: opener(fps=200), frames="newest", buffer=ENOUGH)
    camera.start()
    while len(listener.taken) < ENOUGH and not camera.ended:
        listener.woken.wait(10)
        listener.woken.clear()
        listener.keep(camera.take(2))
    assert camera.stop(10)
    while frames := camera.take(2):
        listener.keep(frames)
    numbers = [frame.number for frame in listener.taken]
    assert len(numbers) >= ENOUGH
    assert numbers == sorted(set(numbers))
    assert len(numbers) + listener.lost() == camera.next_frame_number
    assert listener.states() == ["starting", "up", "ended"]


def test_a_simulation_shows_the_same_line_each_time():
    first, second = (open_source("simulate:?seed=5&size=64x64") for _ in range(2))
    for _ in range(3):
        np.testing.assert_array_equal(first.read(), second.read())
    other = open_source("simulate:?seed=6&size=64x64")
    assert not np.array_equal(other.read(), open_source("simulate:?seed=5&size=64x64").read())


def test_a_rate_is_asked_of_files_and_simulations_and_known_of_videos(video: Path, folder: Path):
    def interval(text: object, **options: object) -> float | None:
        source = open_source(str(text), **options)
        source.close()
        return source.frame_interval

    assert interval(folder) is None
    assert interval(video) is None
    assert interval(video, use_native_rate=True) == pytest.approx(0.1)
    assert interval(video, use_native_rate=True, fps=20) == pytest.approx(0.05)
    assert interval(folder, fps=20) == pytest.approx(0.05)
    assert interval("simulate:?size=64x64") == pytest.approx(1 / 15)
    assert interval("simulate:?size=64x64", fps=60) == pytest.approx(1 / 60)


def test_names_are_sorted_as_people_count():
    names = ["b/1.png", "a10.png", "a9.png", "a09.png", "a1b2.png", "a1b10.png", "7.png"]
    ordered = sorted(map(Path, names), key=natural_sort_key)
    assert [str(path) for path in ordered] == [
        "7.png", "a1b2.png", "a1b10.png", "a09.png", "a9.png", "a10.png", "b/1.png",
    ]  # fmt: skip


def test_a_glob_takes_what_it_names_and_brackets_in_a_folder_name_are_no_pattern(
    tmp_path: Path, folder: Path
):
    odd = tmp_path / "line [1] * '2'"
    odd.mkdir()
    for name in ("1.png", "2.png"):
        os.link(folder / name, odd / name)
    assert len(_read_to_end(open_source(str(odd)))) == 2
    assert len(_read_to_end(open_source(str(odd / "2.png")))) == 1
    assert len(_read_to_end(open_source(f"{folder}/1*.png"))) == 4


def test_bad_files_in_a_folder_are_told_by_name_and_the_others_read(tmp_path: Path, folder: Path):
    for name in ("1.png", "3.png"):
        os.link(folder / name, tmp_path / name)
    (tmp_path / "2.png").write_bytes((folder / "2.png").read_bytes()[:200])
    (tmp_path / "4.jpg").write_bytes(b"")
    outcomes = _read_to_end(open_source(str(tmp_path)))
    assert [isinstance(outcome, ImageError) for outcome in outcomes] == [False, True, False, True]
    assert "2.png" in str(outcomes[1])
    assert "4.jpg" in str(outcomes[3])


def test_a_folder_emptied_while_it_is_read_gives_an_error_for_each_file_and_then_ends(
    tmp_path: Path, folder: Path
):
    for name in ("1.png", "2.png", "3.png"):
        os.link(folder / name, tmp_path / name)
    finite, looped = open_source(str(tmp_path)), open_source(str(tmp_path), loop=True)
    for source in (finite, looped):
        assert source.read() is not None
    for path in tmp_path.iterdir():
        path.unlink()
    for source in (finite, looped):
        for name in ("2.png", "3.png"):
            with pytest.raises(ImageError, match=name):
                source.read()
    assert finite.read() is None
    with pytest.raises(SourceError) as caught:
        looped.read()
    assert caught.value.cause == "not-found"


def test_a_loop_over_nothing_but_broken_files_fails_instead_of_spinning(tmp_path: Path):
    (tmp_path / "1.png").write_bytes(b"broken")
    source = open_source(str(tmp_path), loop=True)
    with pytest.raises(ImageError):
        source.read()
    with pytest.raises(SourceError) as caught:
        source.read()
    assert caught.value.cause == "codec"


def test_a_title_that_is_no_utf8_is_no_reason_not_to_read_a_video(tmp_path: Path, pictures: list[Image]):
    path = tmp_path / "titled.mkv"
    write_video(path, pictures, title="Prüfstand")
    source = open_source(str(path))
    assert source.read() is not None
    source.close()


def test_damage_in_the_middle_of_a_video_costs_pictures_but_not_the_rest(
    tmp_path: Path, pictures: list[Image]
):
    path = tmp_path / "damaged.mp4"
    write_video(path, pictures * 5)
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 3000] = bytes(byte ^ 0x5A for byte in data[middle : middle + 3000])
    path.write_bytes(data)
    outcomes = _read_to_end(open_source(str(path)))
    good = [outcome for outcome in outcomes if not isinstance(outcome, ImageError)]
    assert len(good) < len(outcomes), "no damage was noticed"
    assert len(good) >= 5 * COUNT // 2


def _read_to_end(source: Source) -> list[Image | ImageError]:
    outcomes: list[Image | ImageError] = []
    while True:
        try:
            image = source.read()
        except ImageError as error:
            outcomes.append(error)
            continue
        if image is None:
            source.close()
            return outcomes
        outcomes.append(image)
