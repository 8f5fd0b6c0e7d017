"""Cameras as they are: what they list, refuse and ask for must not keep their video from being read."""

import statistics
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from monitor.capture.sources.address import with_login
from monitor.capture.sources.opening import open_source
from monitor.errors import SourceError
from tests.support.rtsp_camera import Habits, RtspCamera, encode_film

FILM = encode_film()
VIDEO = ("video", "track1", "200 OK")


def shape_read_from(camera: RtspCamera, url: str | None = None, **options: object) -> tuple[int, ...]:
    source = open_source(url or camera.url, open_timeout=5, read_timeout=5, **options)
    try:
        image = source.read()
        assert image is not None
        return image.shape
    finally:
        source.close()


def cause_of(camera: RtspCamera, url: str | None = None, **options: object) -> str:
    with pytest.raises(SourceError) as caught:
        shape_read_from(camera, url, **options)
    return caught.value.cause


@pytest.mark.parametrize(
    "status", ["500 Internal Server Error", "404 Not Found", "461 Unsupported Transport"]
)
@pytest.mark.parametrize("media", ["audio", "talk", "metadata"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_track_that_is_no_video_may_be_refused(status: str, media: str, is_first: bool):
    other = (media, "track2", status)
    tracks = [other, VIDEO] if is_first else [VIDEO, other]
    with RtspCamera(Habits(tracks=tracks), FILM) as camera:
        assert shape_read_from(camera) == (48, 64, 3)
        assert not any("track2" in line for line in camera.log)


def test_a_camera_that_takes_one_client_is_not_knocked_at():
    with RtspCamera(Habits(max_clients=1, rest=30), FILM) as camera:
        assert shape_read_from(camera) == (48, 64, 3)
        assert camera.log.count("ACCEPTED") == 1
        assert "REFUSED" not in camera.log


@pytest.mark.parametrize("refusal", ["461 Unsupported Transport", "400 Bad Request", "406 Not Acceptable"])
@pytest.mark.parametrize("allowed", ["tcp", "udp"])
def test_auto_takes_the_transport_that_the_camera_allows(allowed: str, refusal: str):
    with RtspCamera(Habits(transports=(allowed,), refusal=refusal), FILM) as camera:
        assert shape_read_from(camera) == (48, 64, 3)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_transport_is_used_as_set_and_its_refusal_is_reported(transport: str):
    with RtspCamera(Habits(), FILM) as camera:
        assert shape_read_from(camera, transport=transport) == (48, 64, 3)
        setups = [line for line in camera.log if line.startswith("SETUP")]
        assert all(("TCP" in line) == (transport == "tcp") for line in setups)
    other = "udp" if transport == "tcp" else "tcp"
    with RtspCamera(Habits(transports=(other,)), FILM) as camera:
        assert cause_of(camera, transport=transport) == "refused"


@pytest.mark.parametrize(
    "challenges",
    [
        ("basic",),
        ("digest",),
        ("digest-qop",),
        ("basic", "digest"),
        ("digest", "basic"),
        ("digest-sha256", "digest"),
    ],
)
@pytest.mark.parametrize(
    "password", ["plain", "p@s/s:w?o#r%d &+=", "pässwört€", "100%41", "a b\"c'<>{}|\\^`"]
)
def test_every_way_to_log_in_with_any_password(challenges: tuple[str, ...], password: str):
    with RtspCamera(
        Habits(login=("us er", password), challenges=challenges),
        FILM,
    ) as camera:
        user = camera.habits.login[0]
        assert shape_read_from(camera, with_login(camera.url, user, password)) == (48, 64, 3)
        assert cause_of(camera, with_login(camera.url, user, "wrong")) == "authentication"


def test_a_camera_that_answers_slowly_opens_within_its_time_limit():
    with RtspCamera(Habits(delay=0.4), FILM) as camera:
        assert shape_read_from(camera) == (48, 64, 3)


def test_a_slow_camera_gets_the_advice_to_raise_the_limit():
    with (
        RtspCamera(Habits(delay=1.0), FILM) as camera,
        pytest.raises(SourceError, match="open_timeout") as caught,
    ):
        open_source(camera.url, open_timeout=0.5)
    assert caught.value.cause == "timeout"


def claimed_delays(camera: RtspCamera, count: int = 25) -> list[float | None]:
    """By how much each frame was delayed, as the camera's sender reports say."""
    source = open_source(camera.url)
    found: list[float | None] = []
    for _ in range(count):
        assert source.read() is not None
        stamp = source.stamp
        found.append(None if stamp.capture_time is None else stamp.arrived - stamp.capture_time)
    source.close()
    return found


@pytest.mark.parametrize("lag", [0.0, 1.5])
def test_sender_reports_tell_a_delay_that_all_frames_have(lag: float):
    habits = Habits(
        clock_error=-lag, is_due=lambda number: lag + number / 10, stamp_of=lambda _, at: at + 777
    )
    with RtspCamera(habits, FILM) as camera:
        delays = claimed_delays(camera)[5:]
    assert None not in delays
    assert min(delays) == pytest.approx(lag, abs=0.1)
    assert statistics.median(delays) == pytest.approx(lag, abs=0.3)  # on a busy machine some are late


@pytest.mark.parametrize("error", [-1_000_000.0, -5.0, 3.0, 1_000_000.0])
def test_sender_reports_of_a_wrong_clock_are_not_believed(error: float):
    with RtspCamera(Habits(clock_error=error), FILM) as camera:
        assert set(claimed_delays(camera)) == {None}


class _MjpegHandler(BaseHTTPRequestHandler):
    """Serves numbered grey images as multipart, or another content at other paths."""

    protocol_version = "HTTP/1.0"
    password: str | None = None

    def do_GET(self) -> None:
        if self.path.startswith("/page"):
            self._reply(200, "text/html", b"<html></html>")
            return
        if self.path.startswith("/missing"):
            self._reply(404, "text/plain", b"")
            return
        if self.path.startswith("/locked") and not self.headers.get("Authorization"):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for number in range(1000):
                data = cv2.imencode(".jpg", np.full((48, 64, 3), 40 + number % 100, np.uint8))[1].tobytes()
                head = b"--frame\r\nContent-Type: image/jpeg\r\n"
                if not self.path.startswith("/unsized"):
                    head += b"Content-Length: %d\r\n" % len(data)
                self.wfile.write(head + b"\r\n" + data + b"\r\n")
                time.sleep(0.05)
        except OSError:
            pass

    def log_message(self, *_: object) -> None: ...

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def mjpeg_server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _MjpegHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("path", ["video", "unsized", "locked"])
def test_motion_jpeg_over_http_is_a_source(mjpeg_server: str, path: str):
    url = (
        with_login(f"{mjpeg_server}/{path}", "user", "p@ss/word")
        if path == "locked"
        else f"{mjpeg_server}/{path}"
    )
    began = time.monotonic()
    source = open_source(url)
    levels = [float(image.mean()) for _ in range(5) if (image := source.read()) is not None]
    assert source.codec == "mjpeg"
    assert source.stamp.source_time is None, "FFmpeg counts frames here and has no clock"
    assert began < source.stamp.arrived <= time.monotonic()
    source.close()
    assert levels == pytest.approx(sorted(levels))
    assert len(levels) == 5


@pytest.mark.parametrize(
    ("path", "cause"), [("missing", "not-found"), ("page", "gone"), ("locked", "authentication")]
)
def test_an_address_that_is_no_camera_has_its_cause(mjpeg_server: str, path: str, cause: str):
    with pytest.raises(SourceError) as caught:
        open_source(f"{mjpeg_server}/{path}").read()
    assert caught.value.cause == cause
