"""Each way in which a source fails has its own word, and one sentence without secrets."""

import errno
import os
import socket
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shutil import which

import av
import pytest

from monitor.capture.sources import v4l2 as device
from monitor.capture.sources.base import FAILURE_CAUSES, Source
from monitor.capture.sources.opening import open_source
from monitor.capture.sources.v4l2_formats import is_busy
from monitor.errors import SourceError
from tests.capture.conftest import write_sound
from tests.support.rtsp_server import RtspServer


def failure(text: str, **options: object) -> SourceError:
    """How opening `text`, or reading from it, fails."""
    with pytest.raises(SourceError) as caught:
        _drain(open_source(text, **options))
    error = caught.value
    assert error.cause in FAILURE_CAUSES
    assert str(error).isprintable()
    return error


def _drain(source: Source) -> None:
    try:
        while source.read() is not None:
            pass
    finally:
        source.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def answering(listener: socket.socket, answer: bytes) -> None:
    """Lets the listener answer every connection with the same bytes, and close it."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed at the end of the test
            with connection:
                connection.settimeout(5)
                if connection.recv(2000):
                    connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()


def url(listener: socket.socket, scheme: str = "rtsp") -> str:
    return f"{scheme}://user:s3cr3t@127.0.0.1:{listener.getsockname()[1]}/live"


def test_refused(listener: socket.socket):
    listener.close()
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = url(server)
    assert failure(free).cause == "refused"


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps"])
def test_timeout_of_a_server_that_never_answers(listener: socket.socket, scheme: str):
    began = time.monotonic()
    assert failure(url(listener, scheme), open_timeout=0.5).cause == "timeout"
    assert time.monotonic() - began < 10


def test_dns():
    error = failure("rtsp://user:s3cr3t@no-such-host.invalid/live")
    assert error.cause == "dns"
    assert "no-such-host.invalid" in str(error)


def test_tls_of_a_server_that_does_not_speak_it(listener: socket.socket):
    answering(listener, b"RTSP/1.0 200 OK\r\n\r\n")
    assert failure(url(listener, "rtsps")).cause == "tls"


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, "authentication"),
        (403, "authentication"),
        (404, "not-found"),
        (454, "refused"),
        (503, "refused"),
    ],
)
def test_a_refusal_by_its_status(listener: socket.socket, status: int, cause: str):
    answering(listener, b"RTSP/1.0 %d Reason\r\nCSeq: 1\r\n\r\n" % status)
    assert failure(url(listener)).cause == cause


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n", b"\x00" * 500])
def test_no_rtsp_server(listener: socket.socket, answer: bytes):
    answering(listener, answer)
    assert failure(url(listener), open_timeout=2).cause in ("gone", "timeout")


def test_no_secret_is_in_a_message_or_a_traceback(listener: socket.socket):
    answering(listener, b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n")
    plain, tls, path = url(listener), url(listener, "rtsps"), url(listener).replace("/live", "/pa th")
    for text in (plain, tls, path, "rtsp://user:s3cr3t@no-such-host.invalid/live"):
        error = failure(text)
        told = "".join(traceback.format_exception(error))
        assert "s3cr3t" not in told
        assert "***@" in str(error)


def test_a_stream_that_asks_for_a_password(needs_rtsp: None, folder: Path):
    with RtspServer(folder, user="us er", password="p@ss/w:r'd#%") as server:
        source = open_source(server.url)
        assert source.read() is not None
        source.close()
        for login in ("", "us%20er:wrong", "other:p"):
            assert failure(server.address("video", login)).cause == "authentication"


def test_a_stream_over_tls(needs_rtsp: None, folder: Path, tmp_path: Path):
    if not which("openssl"):
        pytest.skip("a certificate for the server is made with openssl, which is missing")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject],
        check=True,
        capture_output=True,
    )
    certificate.write_text(certificate.read_text() + key.read_text())
    with RtspServer(folder, certificate=certificate) as server:
        source = open_source(server.url)
        assert source.read() is not None
        source.close()
        assert failure(server.url.replace("rtsps:", "rtsp:")).cause == "gone"


def test_a_stream_that_is_not_there_or_has_no_video(rtsp: RtspServer):
    assert failure(rtsp.address("nothing")).cause == "not-found"
    assert failure(rtsp.address("sound")).cause == "no-video"
    assert failure(rtsp.address("odd")).cause == "codec"


def test_files_that_are_no_video(tmp_path: Path, video: Path):
    whole = video.read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video, but text\n" * 50)
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_sound(tmp_path / "sound.wav")
    with av.open(str(tmp_path / "frameless.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
    expected = {
        "empty.mp4": "no-video",
        "text.mp4": "codec",
        "cut.mp4": "codec",
        "sound.wav": "no-video",
        "frameless.mp4": "no-video",
        "missing.mp4": "not-found",
    }
    found = {name: failure(str(tmp_path / name)) for name in expected}
    assert {name: error.cause for name, error in found.items()} == expected
    assert all(name in str(error) for name, error in found.items())


def test_a_looped_video_of_no_frames_fails_instead_of_spinning(tmp_path: Path):
    write_sound(tmp_path / "sound.wav")
    assert failure(str(tmp_path / "sound.wav"), loop=True).cause == "no-video"


def test_folders_without_pictures(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("nothing here")
    for text in (tmp_path, tmp_path / "*.png", tmp_path / "missing", tmp_path / ("x" * 300)):
        assert failure(str(text)).cause in ("not-found", "invalid")


def test_what_is_neither_a_file_nor_a_folder_is_refused_without_waiting_for_it(tmp_path: Path):
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "pipe.png"):
        os.mkfifo(tmp_path / name)
        error = failure(str(tmp_path / name))
        assert (error.cause, "not a file or folder" in str(error)) == ("invalid", True)
    assert failure(str(tmp_path / "folder.mp4")).cause == "not-found"
    assert failure(str(tmp_path / "*")).cause == "not-found"
    for device_file in ("/dev/zero", "/dev/full", "/dev/stdin"):
        assert failure(device_file).cause in ("no-video", "not-found", "refused", "invalid")


def test_devices_that_are_no_cameras():
    assert failure("/dev/video97").cause == "not-found"
    assert failure("97").cause == "not-found"
    assert failure("/dev/null").cause == "no-video"


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOENT, "not-found"),
        (errno.ENODEV, "not-found"),
        (errno.EBUSY, "busy"),
        (errno.EACCES, "refused"),
        (errno.EIO, "invalid"),
    ],
)
def test_devices_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, number: int, cause: str):
    """No camera is on this machine: the system's answer is a stand-in."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(device.os, "open", refuse)
    assert failure("/dev/video0").cause == cause


def test_a_device_from_which_another_program_takes_pictures(monkeypatch: pytest.MonkeyPatch):
    """As above: a device that opens, and whose buffers another program holds."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(device, "is_busy", partial(is_busy, ioctl=refuse))
    assert failure("/dev/null").cause == "busy"


class SilentCapture:
    """Stands in for OpenCV's capture of a camera that gives no picture."""

    def __init__(self, *_: object) -> None: ...

    def isOpened(self) -> bool:
        return True

    def set(self, *_: object) -> bool:
        return True

    def get(self, _: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, None]:
        return False, None

    def release(self) -> None: ...


def test_a_device_that_is_pulled_out_or_falls_silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(device.cv2, "VideoCapture", SilentCapture)
    node = tmp_path / "video0"
    node.touch()
    camera = device.V4l2Source(str(node))
    with pytest.raises(SourceError) as caught:
        camera.read()
    assert caught.value.cause == "timeout"
    node.unlink()
    with pytest.raises(SourceError) as caught:
        camera.read()
    assert caught.value.cause == "gone"


def test_a_simulation_that_cannot_be():
    for text in ("simulate:?size=1x1", "simulate:?defect_rate=2", "simulate:?seed=-1"):
        assert failure(text).cause == "invalid"
