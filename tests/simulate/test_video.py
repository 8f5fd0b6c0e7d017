"""A video: H.264 that shows the line's pictures, with the truth of every frame beside it."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from monitor.errors import DataError, UsageError
from monitor.imaging.ellipse import Ellipse
from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_video


def test_frames_decode_to_the_pictures_at_the_rate_asked_for(
    tmp_path: Path, small_line: SurfaceGenerator
) -> None:
    write_video(small_line, tmp_path / "line.mp4", 12.5, 9)
    with av.open(str(tmp_path / "line.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 12.5
        decoded = [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(stream)]
    assert len(decoded) == 9
    for number, shown in enumerate(decoded):
        # The closest picture of the line is the one of the same number, and close it is.
        distance = [np.abs(shown - small_line.picture(other)[:, :, 0]).mean() for other in range(9)]
        assert np.argmin(distance) == number
        assert distance[number] < 5


def test_truths_beside_the_video_are_those_of_the_line(tmp_path: Path, small_line: SurfaceGenerator) -> None:
    defective = write_video(small_line, tmp_path / "line.mp4", 15, 12)
    rows = [json.loads(row) for row in (tmp_path / "line.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(12))
    assert sum(row["ellipse"] is not None for row in rows) == defective
    for row in rows:
        truth = Ellipse(**row["ellipse"]) if row["ellipse"] else None
        assert truth == small_line.defect_at(row["frame"])
        if truth is not None:
            box = truth.box(128, 96)
            assert row["box"] == [box.left, box.top, box.width, box.height]


def test_an_odd_size_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    line = SurfaceGenerator(seed=0, width=65, height=64, textures=1)
    with pytest.raises(UsageError, match="even width and height, not 65x64"):
        write_video(line, tmp_path / "line.mp4", 15, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("fps", "frames"), [(0, 1), (float("nan"), 1), (2000, 1), (0.0001, 1), (15, 0)])
def test_a_rate_or_a_length_out_of_range_is_refused(
    tmp_path: Path, small_line: SurfaceGenerator, fps: float, frames: int
) -> None:
    with pytest.raises(UsageError, match="a video"):
        write_video(small_line, tmp_path / "line.mp4", fps, frames)


@pytest.mark.parametrize("name", ["line.mp4", "line.jsonl"])
def test_a_file_that_is_there_is_replaced_only_on_request(
    tmp_path: Path, small_line: SurfaceGenerator, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        write_video(small_line, tmp_path / "line.mp4", 15, 2)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    write_video(small_line, tmp_path / "line.mp4", 15, 2, replace=True)
    assert (tmp_path / name).read_bytes() != b"mine"


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, small_line: SurfaceGenerator) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(small_line, tmp_path / "line.mp4", 15, 3, on_written=interrupt)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_refuses_is_said_with_the_file_and_the_cause(
    tmp_path: Path, small_line: SurfaceGenerator
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"line\.mp4 cannot be written") as caught:
        write_video(small_line, tmp_path / "file" / "line.mp4", 15, 1)
    assert isinstance(caught.value.__cause__, OSError)
