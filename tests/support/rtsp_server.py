"""A real RTSP server for tests: GStreamer's, from Debian, in a process of the system's own Python.

It was chosen over servers from wheels because cameras' firmware is often built on it, and its packages
(python3-gi, gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good, -bad and -ugly) are in every Debian.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import cv2
import numpy as np

from monitor.capture.sources.opening import open_source
from monitor.records import Image

PYTHON = "/usr/bin/python3"


_PROCESS = Path(__file__).with_name("rtsp_server_process.py")


_PROBE = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
needed = "appsrc", "x264enc", "rtph264pay", "pngdec", "multifilesrc"
missing = [name for name in needed if not Gst.ElementFactory.find(name)]
raise SystemExit("GStreamer lacks " + ", ".join(missing) if missing else 0)
"""


def why_absent() -> str | None:
    """Why no server can be started here, None if one can."""
    if not Path(PYTHON).exists():
        return f"an RTSP server needs Debian's Python, and {PYTHON} is missing"
    probe = subprocess.run([PYTHON, "-c", _PROBE], capture_output=True, text=True, check=False)
    if probe.returncode == 0:
        return None
    reason = probe.stderr.strip().splitlines()[-1:] or ["no reason given"]
    return f"an RTSP server needs python3-gi and gir1.2-gst-rtsp-server-1.0: {reason[0]}"


class _Server:
    """The process. It asks for `user` and `password` if given; with `certificate`, a PEM file, it speaks TLS.

    It takes a free port, and keeps it when started again.
    """

    def __init__(self, user: str | None, password: str, certificate: Path | None = None) -> None:
        self._asked: dict[str, Any] = {
            "port": 0,
            "user": user,
            "password": password,
            "certificate": certificate and str(certificate),
            "pictures": None,
            "cameras": None,
        }
        self._login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user is not None else ""
        self._scheme = "rtsps" if certificate else "rtsp"
        self._process: subprocess.Popen[str] | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return int(self._asked["port"])

    @property
    def process_id(self) -> int | None:
        """Of the server, for signals; None while it is stopped."""
        return self._process and self._process.pid

    def address(self, path: str, login: str | None = None, port: int | None = None) -> str:
        """A stream by its path: `sound` (no video in it), another one that is there, or one that is not.

        `login`, as `user:password`, stands in for the right one; empty, there is none. `port` stands in for
        the server's own, for a proxy.
        """
        user = self._login if login is None else f"{login}@" if login else ""
        return f"{self._scheme}://{user}127.0.0.1:{port or self.port}/{path}"

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        self._process = subprocess.Popen(
            [PYTHON, str(_PROCESS), json.dumps(self._asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._asked["port"] = self._answer()

    def stop(self) -> None:
        """Kills it, as a power cut would: no client is told."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _tell(self, **command: Any) -> Any:
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process
        assert self._process.stdout
        said = self._process.stdout.readline()
        if not said:
            raise RuntimeError(f"the RTSP server is gone: exit code {self._process.wait()}")
        return json.loads(said)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class RtspServer(_Server):
    """Serves the pictures of a folder, glob or video file as H.264, again and again, at `fps` a second.

    Each client sees them from the first one.
    """

    def __init__(
        self,
        pictures: Path | str,
        *,
        fps: int = 15,
        user: str | None = None,
        password: str = "",
        certificate: Path | None = None,
    ) -> None:
        super().__init__(user, password, certificate)
        self._folder = tempfile.TemporaryDirectory(prefix="rtsp-")
        pattern = f"{self._folder.name}/%05d.png"
        self._asked["pictures"] = {"pattern": pattern, "count": self._write(str(pictures)), "fps": fps}

    @property
    def url(self) -> str:
        """The stream, with user and password if it asks for them."""
        return self.address("video")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._folder.cleanup()

    def _write(self, pictures: str) -> int:
        source = open_source(pictures)
        count = 0
        while (image := source.read()) is not None:
            cv2.imwrite(f"{self._folder.name}/{count:05d}.png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            count += 1
        source.close()
        return count


class LiveServer(_Server):
    """Live cameras at the paths `0`, `1` …, whose pictures say which they are (`number_in`).

    A camera films while somebody looks. Who joins sees what the others see.
    """

    def __init__(
        self,
        count: int = 1,
        *,
        width: int = 320,
        height: int = 240,
        fps: int = 10,
        user: str | None = None,
        password: str = "",
    ) -> None:
        super().__init__(user, password)
        self.change(count=count, width=width, height=height, fps=fps)

    def change(self, **how: int) -> None:
        """Another `count`, `width`, `height` or `fps`, from the next start on."""
        self._asked["cameras"] = {**(self._asked["cameras"] or {}), **how}

    @property
    def fps(self) -> int:
        """Pictures a second."""
        return int(self._asked["cameras"]["fps"])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures."""
        return int(self._asked["cameras"]["width"]), int(self._asked["cameras"]["height"])

    def show(self, what: Literal["moving", "frozen", "black", "silent"], camera: int = 0) -> None:
        """What a camera films from now on; `silent` keeps the connection and sends nothing."""
        self._tell(show={str(camera): what})

    def require(self, password: str) -> None:
        """Another password, for all who come from now on. The addresses keep the first one."""
        self._tell(password=password)

    def filmed(self, camera: int = 0) -> int:
        """Pictures sent since the start."""
        return int(self._tell()["filmed"][camera])


def number_in(image: Image) -> tuple[int, int] | None:
    """Camera and number of a LiveServer's picture; None where its mark is damaged or missing.

    The number of a picture is its time: seconds of the monotonic clock, times the pictures a second.
    """
    block = image.shape[1] // 32
    mark = image[:8, : 32 * block, 1].astype(np.float64)
    ones, opposites = mark.reshape(2, 4, 32, block).mean(axis=(1, 3))
    if abs(ones - opposites).min() < 100:
        return None
    value = int("".join("1" if one else "0" for one in ones > opposites), 2)
    return value >> 24, value & 0xFFFFFF
