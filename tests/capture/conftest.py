"""Pictures as a folder, as a video and as a stream, all the same, so that one suite runs over all sources."""

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from monitor.records import Image
from monitor.simulate.surface import SurfaceGenerator
from tests.support.rtsp_server import RtspServer, why_absent

COUNT = 12


@pytest.fixture(scope="session")
def pictures() -> list[Image]:
    """COUNT simulated surfaces of 128x96 pixels, told from each other by the place of a bright block."""
    line = SurfaceGenerator(1, 128, 96, defect_rate=0, textures=2)
    numbered = [line.picture(0).copy() for _ in range(COUNT)]
    for number, picture in enumerate(numbered):
        picture[40:56, 8 * number : 8 * number + 16] = 255
    return numbered


@pytest.fixture(scope="session")
def folder(pictures: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures as 1.png … 12.png, beside a file that is no picture by its name."""
    root = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(pictures, start=1):
        cv2.imwrite(str(root / f"{number}.png"), picture)
    (root / "Labels.txt").write_text("1\n")
    return root


def write_video(path: Path, pictures: list[Image], title: str = "") -> None:
    """The pictures as H.264, 10 a second; the title in Latin-1."""
    with av.open(str(path), "w", metadata_encoding="latin-1") as container:
        container.metadata["title"] = title
        stream = container.add_stream("libx264", rate=10, options={"crf": "10", "g": "5"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def write_sound(path: Path) -> None:
    """A second of silence without video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def video(pictures: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures as an MP4 file of 10 a second."""
    path = tmp_path_factory.mktemp("video") / "line 1.mp4"
    write_video(path, pictures)
    return path


@pytest.fixture(scope="session")
def needs_rtsp() -> None:
    """Skips where no RTSP server can be started, with the reason."""
    if reason := why_absent():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def rtsp(needs_rtsp: None, folder: Path) -> Iterator[RtspServer]:
    """A server of the pictures, 20 a second, for tests that leave it as it is."""
    with RtspServer(folder, fps=20) as server:
        yield server
