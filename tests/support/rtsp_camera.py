"""A scripted RTSP camera with the habits of real ones: it refuses tracks, transports, clients and logins.

It sends H.264 over RTP and runs in threads of the test. Its time stamps, sender reports and pauses are
arguments, so that tests can give it a clock that is wrong.
"""

import base64
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import numpy as np

_NTP_EPOCH = 2_208_988_800
_MTU = 1400


def encode_film(count: int = 20, width: int = 64, height: int = 48) -> list[list[bytes]]:
    """Return `count` frames of H.264 as lists of NAL units, the first of them a key frame with parameters."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = 10, Fraction(1, 10)
    encoder.options = {"tune": "zerolatency", "g": "10", "preset": "ultrafast"}
    noise = np.random.default_rng(1)
    frames = []
    for number in range(count):
        image = noise.integers(60, 200, (height, width, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
        frame.pts = number
        for packet in encoder.encode(frame):
            frames.append([unit for unit in re.split(b"\0\0\0\1|\0\0\1", bytes(packet)) if unit])
    return frames


@dataclass
class Habits:
    """How the camera behaves. `tracks` are (media, control, status of SETUP); the first video track plays."""

    tracks: list[tuple[str, str, str]] = field(default_factory=lambda: [("video", "track1", "200 OK")])
    transports: tuple[str, ...] = ("tcp", "udp")
    refusal: str = "461 Unsupported Transport"
    max_clients: int = 100
    rest: float = 0.0
    """Seconds after a client has gone in which the camera takes no other."""
    login: tuple[str, str] | None = None
    challenges: tuple[str, ...] = ("digest",)
    """Of `basic`, `digest`, `digest-qop`, `digest-sha256`, as the camera lists them."""
    delay: float = 0.0
    """Seconds before each answer."""
    fps: float = 10.0
    stamp_of: Callable[[int, float], float] = lambda _number, seconds: seconds
    """From the number of a frame and the seconds since PLAY to the RTP time stamp in seconds."""
    clock_error: float | None = None
    """Seconds by which the clock of its sender reports is wrong; None: it sends none."""
    is_due: Callable[[int], float] | None = None
    """From the number of a frame to the seconds since PLAY at which it is sent; default: at the rate."""
    frames: int = 1_000_000
    """Frames sent before the camera falls silent."""


class RtspCamera:
    """The camera, at `url`; `log` has each connection and request."""

    def __init__(self, habits: Habits | None = None, film: list[list[bytes]] | None = None) -> None:
        self.habits = habits or Habits()
        self.log: list[str] = []
        self._film = film or encode_film()
        self._clients = 0
        self._gone_at = float("-inf")
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.getsockname()[1])

    @property
    def url(self) -> str:
        """The stream, without a login."""
        return f"rtsp://127.0.0.1:{self.port}/stream"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            is_resting = time.monotonic() - self._gone_at < self.habits.rest
            refused = self._clients >= self.habits.max_clients or is_resting
            self.log.append("REFUSED" if refused else "ACCEPTED")
            if refused:
                connection.close()
                return
            self._clients += 1
        try:
            _Session(self, connection).run()
        except (OSError, ValueError):
            pass
        finally:
            connection.close()
            with self._lock:
                self._clients -= 1
                self._gone_at = time.monotonic()


class _Session:
    def __init__(self, camera: RtspCamera, connection: socket.socket) -> None:
        self._camera, self._habits, self._connection = camera, camera.habits, connection
        self._film = camera._film
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._channel = 0
        self._udp: tuple[socket.socket, tuple[str, int]] | None = None
        self._senders: list[socket.socket] = []

    def run(self) -> None:
        buffer = b""
        try:
            while True:
                while b"\r\n\r\n" not in buffer or buffer[:1] == b"$":
                    if buffer[:1] == b"$" and len(buffer) >= 4:
                        length = struct.unpack("!H", buffer[2:4])[0]
                        if len(buffer) >= 4 + length:
                            buffer = buffer[4 + length :]
                            continue
                    received = self._connection.recv(65536)
                    if not received:
                        return
                    buffer += received
                request, buffer = buffer.split(b"\r\n\r\n", 1)
                if not self._answer(request.decode("latin-1")):
                    return
        finally:
            self._ended.set()
            for sender in self._senders:
                sender.close()

    def _answer(self, request: str) -> bool:
        first, *lines = request.split("\r\n")
        method, url = first.split()[:2]
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        self._camera.log.append(f"{method} {url.rsplit('/', 1)[-1]} {headers.get('transport', '')}".strip())
        time.sleep(self._habits.delay)
        status, extra, body = self._reply(method, url, headers)
        text = f"RTSP/1.0 {status}\r\nCSeq: {headers.get('cseq', '0')}\r\n{extra}"
        text += f"Content-Length: {len(body)}\r\n\r\n{body}" if body else "\r\n"
        with self._lock:
            self._connection.sendall(text.encode())
        if method == "PLAY" and status.startswith("200"):
            threading.Thread(target=self._play, daemon=True).start()
        return method != "TEARDOWN"

    def _reply(self, method: str, url: str, headers: dict[str, str]) -> tuple[str, str, str]:
        habits = self._habits
        if method == "OPTIONS":
            return "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n", ""
        if habits.login is not None and not self._is_allowed(method, url, headers.get("authorization", "")):
            return "401 Unauthorized", "".join(map(_challenge, habits.challenges)), ""
        match method:
            case "DESCRIBE":
                base = f"Content-Base: {url.rstrip('/')}/\r\nContent-Type: application/sdp\r\n"
                return "200 OK", base, self._description()
            case "SETUP":
                return self._set_up(url, headers.get("transport", ""))
            case "PLAY":
                return "200 OK", "Session: 1\r\nRange: npt=0.000-\r\n", ""
            case _:
                return "200 OK", "Session: 1\r\n", ""

    def _description(self) -> str:
        text = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
        parameters = [base64.b64encode(unit).decode() for unit in self._film[0] if unit[0] & 31 in (7, 8)]
        kinds = {
            "video": "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;"
            f"sprop-parameter-sets={','.join(parameters)}\r\n",
            "audio": "m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n",
            "talk": "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendonly\r\n",
            "metadata": "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n",
        }
        return text + "".join(
            f"{kinds[media]}a=control:{control}\r\n" for media, control, _ in self._habits.tracks
        )

    def _set_up(self, url: str, transport: str) -> tuple[str, str, str]:
        track = next(track for track in self._habits.tracks if url.endswith(track[1]))
        if not track[2].startswith("200"):
            return track[2], "", ""
        wanted = "tcp" if "TCP" in transport else "udp"
        if wanted not in self._habits.transports:
            return self._habits.refusal, "", ""
        if wanted == "tcp":
            channel = int(re.search(r"interleaved=(\d+)", transport)[1])  # type: ignore[index]
            self._channel = channel if track[0] == "video" else self._channel
            answer = f"RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}"
        else:
            port = int(re.search(r"client_port=(\d+)", transport)[1])  # type: ignore[index]
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.bind(("127.0.0.1", 0))
            self._senders.append(sender)
            if track[0] == "video":
                self._udp = sender, ("127.0.0.1", port)
            mine = sender.getsockname()[1]
            answer = f"RTP/AVP;unicast;client_port={port}-{port + 1};server_port={mine}-{mine + 1}"
        return "200 OK", f"Transport: {answer}\r\nSession: 1;timeout=60\r\n", ""

    def _is_allowed(self, method: str, url: str, given: str) -> bool:
        user, password = self._habits.login or ("", "")
        scheme, _, rest = given.partition(" ")
        if scheme == "Basic":
            return (
                "basic" in self._habits.challenges and base64.b64decode(rest).decode() == f"{user}:{password}"
            )
        values = dict(re.findall(r'(\w+)="?([^",]*)"?', rest))
        algorithm = "sha256" if values.get("algorithm") == "SHA-256" else "md5"

        def digest(text: str) -> str:
            return hashlib.new(algorithm, text.encode()).hexdigest()

        middle = values.get("nonce", "")
        if "qop" in values:
            middle += f":{values.get('nc')}:{values.get('cnonce')}:{values['qop']}"
        first, second = digest(f"{user}:camera:{password}"), digest(f"{method}:{values.get('uri')}")
        expected = digest(f"{first}:{middle}:{second}")
        return scheme == "Digest" and values.get("response") == expected

    def _play(self) -> None:
        habits, started_at, sequence = self._habits, time.monotonic(), 0
        for number in range(habits.frames):
            due = number / habits.fps if habits.is_due is None else habits.is_due(number)
            if (
                self._ended.wait(max(0.0, started_at + due - time.monotonic()))
                or self._camera._stopped.is_set()
            ):
                return
            stamp = int(habits.stamp_of(number, due) * 90_000) & 0xFFFFFFFF
            units = self._film[number % len(self._film)]
            try:
                for index, unit in enumerate(units):
                    for payload, is_last in _packets(unit, index == len(units) - 1):
                        header = struct.pack(
                            "!BBHII", 0x80, 96 | is_last << 7, sequence & 0xFFFF, stamp, 0xCAFE
                        )
                        self._send(header + payload, 0)
                        sequence += 1
                if habits.clock_error is not None and number % 10 == 0:
                    sent_at = time.time() + started_at + due - time.monotonic()
                    ntp = int((sent_at + habits.clock_error + _NTP_EPOCH) * 2**32)
                    self._send(struct.pack("!BBHIQIII", 0x80, 200, 6, 0xCAFE, ntp, stamp, sequence, 0), 1)
            except OSError:
                return

    def _send(self, packet: bytes, offset: int) -> None:
        if self._udp is not None:
            sender, (host, port) = self._udp
            sender.sendto(packet, (host, port + offset))
            return
        with self._lock:
            head = struct.pack("!BBH", 0x24, self._channel + offset, len(packet))
            self._connection.sendall(head + packet)


def _packets(unit: bytes, is_last: bool) -> list[tuple[bytes, int]]:
    """Return a NAL unit as payloads of RTP packets, each with its marker."""
    if len(unit) <= _MTU:
        return [(unit, int(is_last))]
    kind, body = unit[0], unit[1:]
    parts = [body[start : start + _MTU] for start in range(0, len(body), _MTU)]
    packets = []
    for index, part in enumerate(parts):
        edge = (0x80 if index == 0 else 0) | (0x40 if index == len(parts) - 1 else 0)
        head = bytes([kind & 0xE0 | 28, edge | kind & 31])
        packets.append((head + part, int(is_last and index == len(parts) - 1)))
    return packets


def _challenge(kind: str) -> str:
    match kind:
        case "basic":
            return 'WWW-Authenticate: Basic realm="camera"\r\n'
        case "digest-qop":
            return 'WWW-Authenticate: Digest realm="camera", nonce="abc", qop="auth"\r\n'
        case "digest-sha256":
            return 'WWW-Authenticate: Digest realm="camera", nonce="abc", algorithm=SHA-256\r\n'
        case _:
            return 'WWW-Authenticate: Digest realm="camera", nonce="abc"\r\n'
