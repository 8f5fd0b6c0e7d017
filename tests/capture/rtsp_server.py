"""A real RTSP server for tests: GStreamer's, from Debian, in a process of the system's own Python.

It was chosen over servers from wheels because cameras' firmware is often built on it, and its packages
(python3-gi, gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good, -bad and -ugly) are in every Debian.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import cv2

from monitor.capture.source import open_source

PYTHON = "/usr/bin/python3"
_PROCESS = Path(__file__).with_name("rtsp_server_process.py")
_PROBE = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
needed = "x264enc", "rtph264pay", "pngdec", "multifilesrc"
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


class RtspServer:
    """Serves the pictures of a folder, glob or video file as H.264, again and again, at `fps` a second.

    Each client sees them from the first one. With `user` and `password` it asks for them; `certificate`, a
    PEM file with its key, makes it speak TLS. It takes a free port, and keeps it when started again.
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
        self._folder = tempfile.TemporaryDirectory(prefix="rtsp-")
        self._asked = {
            "pattern": f"{self._folder.name}/%05d.png",
            "count": self._write(str(pictures)),
            "fps": fps,
            "port": 0,
            "user": user,
            "password": password,
            "certificate": certificate and str(certificate),
        }
        self._login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user is not None else ""
        self._scheme = "rtsps" if certificate else "rtsp"
        self._process: subprocess.Popen[str] | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return int(str(self._asked["port"]))

    @property
    def process_id(self) -> int | None:
        """Of the server, for signals; None while it is stopped."""
        return self._process and self._process.pid

    @property
    def url(self) -> str:
        """The stream, with user and password if it asks for them."""
        return self.address("video")

    def address(self, path: str, login: str | None = None) -> str:
        """A stream by its path: `video`, `sound` (no video in it) or one that is not there.

        `login`, as `user:password`, stands in for the right one; empty, there is none.
        """
        user = self._login if login is None else f"{login}@" if login else ""
        return f"{self._scheme}://{user}127.0.0.1:{self.port}/{path}"

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        self._process = subprocess.Popen(
            [PYTHON, str(_PROCESS), json.dumps(self._asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        said = self._process.stdout.readline().strip()
        if not said:
            raise RuntimeError(f"the RTSP server did not start: exit code {self._process.wait()}")
        self._asked["port"] = int(said)

    def stop(self) -> None:
        """Kills it, as a power cut would: no client is told."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._folder.cleanup()

    def _write(self, pictures: str) -> int:
        source = open_source(pictures)
        count = 0
        while (image := source.read()) is not None:
            cv2.imwrite(f"{self._folder.name}/{count:05d}.png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            count += 1
        source.close()
        return count
