"""Each camera is really opened; a problem is reported without its password."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from monitor.capture.config import CaptureConfig
from monitor.capture.sources.base import Source
from monitor.capture.sources.opening import open_source
from monitor.capture.sources.v4l2_formats import FrameFormat
from monitor.errors import SourceError
from monitor.imaging.geometry import tile_boxes
from monitor.records import Box
from monitor.tools.doctor import cameras
from monitor.tools.doctor.cameras import (
    CameraCheck,
    CameraTarget,
    check_camera,
    look_at_all,
    open_by,
    save_pictures,
)
from tests.capture.conftest import folder, needs_rtsp, pictures, rtsp, video
from tests.support.rtsp_server import RtspServer

__all__ = ["folder", "needs_rtsp", "pictures", "rtsp", "video"]


def camera(source: str | Path, **views: object) -> CameraTarget:
    """A camera of the settings, with what `open_source` and `network_views` want."""
    return CameraTarget("c", str(source), partial(open_source, str(source)), partial(tile_boxes, **views))


def failing(source: str, error: Exception) -> CameraTarget:
    """A camera that cannot be opened."""

    def fail() -> Source:
        raise error

    return CameraTarget("c", source, fail, tile_boxes)


def wrong(look: CameraCheck) -> str:
    """The message and the remedy of a camera that is not ok."""
    assert look.answer.result == "not ok", look.answer
    assert look.answer.remedy
    return f"{look.answer.message} {look.answer.remedy}"


def test_a_stream_is_told_with_size_rate_codec_and_picture(rtsp: RtspServer) -> None:
    look = check_camera(camera(rtsp.url))
    assert look.answer.result == "ok", look.answer
    assert look.answer.name == "camera c"
    assert "128x96" in look.answer.message
    assert look.answer.figures["codec"] == "h264"
    assert 10 < float(look.answer.figures["frames_per_second"]) < 40
    assert look.image is not None
    assert look.image.shape == (96, 128, 3)


def test_a_video_and_a_folder_are_described(video: Path, folder: Path) -> None:
    assert check_camera(camera(video)).answer.figures["codec"] == "h264"
    answer = check_camera(camera(folder)).answer
    assert answer.result == "ok"
    assert "codec" not in answer.figures


def test_a_wrong_password_is_said_without_it(needs_rtsp: None, folder: Path) -> None:
    with RtspServer(folder, user="u", password="right") as server:
        look = check_camera(camera(server.address("video", "u:hunter2")))
    assert "refuses this user and password" in wrong(look)
    assert look.answer.figures["cause"] == "authentication"
    assert "hunter2" not in str(look)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("rtsp://u:hunter2@127.0.0.1:1/live", "refused"),
        ("rtsp://u:hunter2@no.such.host.invalid/live", "dns"),
        ("/dev/video77", "not-found"),
        ("/no/such/folder", "not-found"),
    ],
)
def test_each_cause_has_its_word_and_its_mend(source: str, cause: str) -> None:
    look = check_camera(camera(source))
    wrong(look)
    assert look.answer.figures["cause"] == cause
    assert "hunter2" not in str(look)


def test_a_region_outside_the_picture_is_not_ok(folder: Path) -> None:
    look = check_camera(camera(folder, roi=Box(0, 0, 1920, 1080)))
    assert "does not lie within the camera's 128x96 frame" in wrong(look)
    assert look.image is not None


def test_tiles_are_counted(folder: Path) -> None:
    assert "8 tiles" in check_camera(camera(folder, tiles=(2, 4))).answer.message


def test_pictures_that_are_none_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_text("no picture")
    cv2.imwrite(str(tmp_path / "2.png"), np.full((32, 32, 3), 90, np.uint8))
    assert check_camera(camera(tmp_path)).answer.result == "ok"
    (tmp_path / "2.png").unlink()
    assert "1.png: not an image" in wrong(check_camera(camera(tmp_path)))


def test_one_that_hangs_or_breaks_holds_up_no_other(folder: Path, tmp_path: Path) -> None:
    watched = [
        camera(folder),
        CameraTarget("hangs", "pipe", lambda: time.sleep(30), tile_boxes),  # type: ignore[arg-type, return-value]
        CameraTarget("breaks", "x", lambda: 1 / 0, tile_boxes),  # type: ignore[arg-type, return-value]
    ]
    began = time.monotonic()
    good, hangs, breaks = look_at_all(watched, timeout=1.0)
    assert time.monotonic() - began < 10
    assert good.answer.result == "ok"
    assert "neither a frame nor an answer in 1 s" in wrong(hangs)
    assert "ZeroDivisionError" in wrong(breaks)


@pytest.fixture
def holding(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """A program that has a file open; it stands in for a camera, of which there is none here."""

    def start(path: Path, *arguments: str) -> subprocess.Popen[str]:
        code = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        return process

    return start


def test_who_holds_a_camera_is_found(tmp_path: Path, holding: Callable[..., subprocess.Popen[str]]) -> None:
    device = tmp_path / "video0"
    device.write_text("")
    assert open_by(str(device)) == []
    process = holding(device)
    with process:
        assert [number for number, _ in open_by(str(device))] == [process.pid]
        process.communicate()
    assert open_by(str(tmp_path / "none")) == []


def test_a_busy_camera_is_said_with_who_has_it(
    holding: Callable[..., subprocess.Popen[str]],
) -> None:
    # Any device file of the system's own serves: the point is who has it open.
    device = "/dev/full"
    process = holding(Path(device))
    with process:
        look = check_camera(failing(device, SourceError("no-video", f"{device}: gives no video now")))
        assert f"{Path(sys.executable).name} (process {process.pid}) has it open" in wrong(look)
        process.communicate()


def test_a_camera_that_a_running_daemon_has_is_not_looked_at(
    holding: Callable[..., subprocess.Popen[str]],
) -> None:
    device = "/dev/full"
    process = holding(Path(device), "defect-monitor")
    with process:
        look = check_camera(
            failing(device, SourceError("busy", f"{device}: another program uses the camera"))
        )
        process.communicate()
    assert look.answer.result == "skipped"
    assert f"running defect-monitor (process {process.pid})" in look.answer.message


def test_pictures_are_saved_by_name(folder: Path, tmp_path: Path) -> None:
    looks = [check_camera(camera(folder)), check_camera(camera("/no/such/folder"))]
    answer = save_pictures(looks, ["one", "two"], tmp_path / "out")
    assert answer.figures["saved"] == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.png"]
    assert (cv2.imread(str(tmp_path / "out" / "one.png")) == looks[0].image).all()
    (tmp_path / "file").write_text("")
    assert save_pictures(looks, ["one", "two"], tmp_path / "file").result == "not ok"


def test_a_picture_that_cannot_be_judged_is_not_ok(folder: Path) -> None:
    plain = camera(folder)
    dark = CameraTarget(plain.name, plain.source, plain.open, plain.views, lambda _: "black: nothing is seen")
    look = check_camera(dark)
    assert "cannot be classified: black" in wrong(look)
    assert look.image is not None


def test_a_camera_of_another_size_is_misconfigured(folder: Path) -> None:
    line = CaptureConfig(str(folder), every=True, reopen=False, input_size=(32, 32), buffer_slots=4)
    line = replace(line, expected_size=(1920, 1080))
    look = check_camera(CameraTarget("c", line.source, line.open_source, line.tile_boxes))
    found = wrong(look)
    assert "is misconfigured: the camera delivers 128x96 pixels, but expected_size is 1920x1080" in found
    assert "set the camera's resolution" in found


def test_twelve_bits_in_sixteen_are_reported_with_the_setting_that_helps(tmp_path: Path) -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    cv2.imwrite(str(tmp_path / "1.png"), values)
    assert "values use 12 of 16 bits: set bit_depth = 12" in wrong(check_camera(camera(tmp_path)))
    deep = partial(open_source, str(tmp_path), bit_depth=12)
    assert check_camera(CameraTarget("c", str(tmp_path), deep, tile_boxes)).answer.result == "ok"


def test_what_a_device_offers_is_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No camera is on this machine: a folder stands in for the device, and a list for its formats."""
    found = [FrameFormat("MJPG", 1920, 1080, None, (30.0,)), FrameFormat("YUYV", 640, 480)]
    monkeypatch.setattr(cameras, "list_formats", lambda _: found)
    device = CameraTarget("c", "/dev/video0", partial(open_source, str(folder)), tile_boxes)
    answer = check_camera(device).answer
    assert "offers MJPG 1920x1080 (30 fps), YUYV 640x480" in answer.message
    assert answer.figures["formats"] == "MJPG 1920x1080 (30 fps); YUYV 640x480"
    refused = failing("/dev/video0", SourceError("invalid", "asked for size 9x9"))
    assert "choose what the device offers: MJPG 1920x1080" in wrong(check_camera(refused))
