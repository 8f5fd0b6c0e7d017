"""Video files and network streams, through FFmpeg's libraries (PyAV)."""

import contextlib
import errno
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import av
import av.error
import numpy as np
from av.codec.hwaccel import HWAccel

from monitor.capture.address import redact
from monitor.capture.hardware import Decode, accelerator
from monitor.errors import ImageError, SourceError
from monitor.records import Image

_NETWORK_OPTIONS = {
    "rtsp_transport": "tcp",  # a lost UDP packet smears a picture, and a smear looks like a defect
    "flags": "low_delay",
    # Otherwise opening waits for seven pictures or more, to guess at what nobody asks for, and the first ones
    # are old when they come. ("nobuffer" is no help: it throws away the pictures seen while opening, the key
    # picture first; the next ones cannot be decoded.)
    "fpsprobesize": "0",
    "analyzeduration": "1",  # microseconds; 0 would mean the default
}
_DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322}


class _Video:
    """Decodes the first video stream of what FFmpeg opens as `url`; `shown` is its name in messages."""

    def __init__(
        self,
        url: str,
        shown: str,
        options: dict[str, str],
        timeouts: tuple[float, float],
        hardware: HWAccel | None = None,
    ) -> None:
        self._shown = shown
        self._decoded: deque[av.VideoFrame] = deque()
        self._container = av.open(
            url,
            mode="r",
            options=options,
            timeout=timeouts,
            hwaccel=hardware,
            metadata_errors="replace",  # a title in another encoding is no reason not to look
        )
        video = self._container.streams.video
        if not video or video[0].codec_context is None:
            self._container.close()
            cause, what = (
                ("codec", "its video codec is not supported") if video else ("no-video", "holds no video")
            )
            raise SourceError(cause, f"{shown}: {what}")
        self._stream = video[0]
        # Decoding frames on several threads would hold back as many frames as there are threads.
        self._stream.thread_type = "SLICE"
        self._packets = self._container.demux(self._stream)
        self._patience = timeouts[1]
        self._overdue = False
        self._begun = False
        self.position: float | None = None

    @property
    def in_hardware(self) -> bool:
        """Whether a device decodes, not the processor."""
        return bool(self._stream.codec_context.is_hwaccel)

    @property
    def rate(self) -> float | None:
        """Pictures a second as the material says, if it does."""
        return float(self._stream.average_rate) if self._stream.average_rate else None

    @property
    def codec(self) -> str:
        """How the pictures are coded, such as `h264`."""
        return str(self._stream.codec_context.name)

    def read(self) -> Image | None:
        """The next picture, None at the end. Raises ImageError for a broken one, and FFmpeg's errors."""
        while not self._decoded:
            if self._overdue:
                raise av.error.TimeoutError(errno.ETIMEDOUT, "no packet in time")
            began = time.monotonic()
            packet = next(self._packets, None)
            # FFmpeg holds one picture back, gives it out when it has waited in vain, and would wait again.
            self._overdue = time.monotonic() - began >= self._patience * 0.99
            if packet is None:
                return None
            try:
                self._decoded.extend(packet.decode())
            except av.error.EOFError:
                return None
            except av.error.InvalidDataError as error:
                if not self._begun:  # a stream is joined between two key pictures: that is no damage
                    continue
                raise ImageError(f"{self._shown}: a picture of it cannot be decoded") from error
        self._begun = True
        frame = self._decoded.popleft()
        self.position = frame.time
        if frame.is_corrupt:
            raise ImageError(f"{self._shown}: a picture of it is damaged")
        return np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8)

    def close(self) -> None:
        self._container.close()


class VideoFile:
    """A video file, read as fast as it is asked for; with `loop`, from the start again after the end.

    `interval` (seconds) is what the reader should keep; with `own_rate` and no `interval` it is the file's
    own.
    """

    position = None

    def __init__(self, path: Path, *, interval: float | None, own_rate: bool, loop: bool) -> None:
        self.live = loop
        self._path = path
        self._video = self._open()
        self._found = False
        rate = self._video.rate if own_rate else None
        self.interval = interval or (1 / rate if rate else None)

    @property
    def codec(self) -> str:
        """How the pictures are coded, such as `h264`."""
        return self._video.codec

    def read(self) -> Image | None:
        """The next picture, None at the end."""
        with self._translated():
            image = self._video.read()
            if image is None and not self._found:
                raise SourceError("no-video", f"{self._path}: not one picture can be read from it")
            if image is None and self.live:
                self._video.close()
                self._video, self._found = self._open(), False
                return self.read()
            self._found = True
        return image

    def close(self) -> None:
        """Closes the file."""
        self._video.close()

    def _open(self) -> _Video:
        with self._translated():
            if self._path.stat().st_size == 0:
                raise SourceError("no-video", f"{self._path}: the file is empty (0 bytes)")
            # With "file:" no name of a file is taken for a protocol of FFmpeg's.
            return _Video(f"file:{self._path}", str(self._path), {}, (60.0, 60.0))

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (av.error.FileNotFoundError, FileNotFoundError) as error:
            raise SourceError("not-found", f"{self._path}: no such file") from error
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            raise SourceError(
                "codec", f"{self._path}: neither a picture nor a video that can be read"
            ) from error
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError("gone", f"{self._path}: cannot be read: {error.strerror}") from error


class NetworkStream:
    """A camera's RTSP stream over TCP, or over TLS for `rtsps`. Timeouts in seconds.

    A camera's certificate is not verified: hardly one has a certificate that could be. `decode="hardware"`
    refuses (`codec`) a stream that no device of this machine decodes.
    """

    live = True
    interval = None

    def __init__(
        self, url: str, *, open_timeout: float, read_timeout: float, decode: Decode = "software"
    ) -> None:
        self._shown = redact(url)
        _knock(url, self._shown, open_timeout)
        with self._translated(open_timeout, "opening"):
            longest = str(
                int(max(open_timeout, read_timeout) * 1e6)
            )  # microseconds, for each socket operation
            self._video = _Video(
                url,
                self._shown,
                {**_NETWORK_OPTIONS, "timeout": longest},
                (open_timeout, read_timeout),
                accelerator(decode),
            )
        self._read_timeout = read_timeout
        if decode == "hardware" and not self._video.in_hardware:
            self._video.close()
            raise SourceError(
                "codec",
                f"{self._shown}: no device of this machine decodes {self.codec}; decode = 'auto' needs none",
            )

    @property
    def position(self) -> float | None:
        """Seconds of the latest picture on the camera's clock."""
        return self._video.position

    @property
    def codec(self) -> str:
        """How the pictures are coded, such as `h264`."""
        return self._video.codec

    def read(self) -> Image | None:
        """The next picture, None when the camera ends the stream."""
        with self._translated(self._read_timeout, "reading"):
            return self._video.read()

    def close(self) -> None:
        """Ends the session."""
        self._video.close()

    @contextlib.contextmanager
    def _translated(self, timeout: float, doing: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        # `from None`: the text of FFmpeg's errors holds the URL with its password.
        except av.error.FFmpegError as error:
            # FFmpeg reports a read that was cut off at its time limit as one of several other errors.
            late = time.monotonic() - began >= timeout * 0.99
            cause, what = ("timeout", f"no answer in {timeout:g} s") if late else _explained(error)
            raise SourceError(cause, f"{self._shown}: {what} ({doing} the stream)") from None


def _explained(error: av.error.FFmpegError) -> tuple[str, str]:
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            return "authentication", "the camera refuses this user and password"
        case av.error.HTTPNotFoundError():
            return "not-found", "the camera knows no such stream"
        case av.error.ExitError() | av.error.TimeoutError():
            return "timeout", "the camera stopped answering"
        case av.error.InvalidDataError():
            return "gone", "the camera closed the connection or sent no valid answer"
        case av.error.DecoderNotFoundError() | av.error.PatchWelcomeError():
            return "codec", f"the video cannot be decoded: {error.strerror}"
        case av.error.HTTPClientError() | av.error.HTTPError():
            return "refused", f"the camera refused: {error.strerror}"
        case _:
            return "gone", f"the connection broke: {error.strerror}"


def _knock(url: str, shown: str, timeout: float) -> None:
    """Makes and drops a connection, since the system tells failures apart that FFmpeg reports as one."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[scheme]
    try:
        with socket.create_connection((host, port), timeout) as connection:
            if scheme == "rtsps":
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.wrap_socket(connection, server_hostname=host).close()
    except (socket.gaierror, UnicodeError) as error:
        raise SourceError("dns", f"{shown}: the host name '{host}' cannot be resolved") from error
    except ssl.SSLError as error:
        raise SourceError("tls", f"{shown}: no TLS connection: {error.reason or error}") from error
    except TimeoutError as error:
        raise SourceError("timeout", f"{shown}: no connection in {timeout:g} s") from error
    except ConnectionRefusedError as error:
        raise SourceError("refused", f"{shown}: nothing listens on port {port}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        cause = "timeout" if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH) else "gone"
        raise SourceError(cause, f"{shown}: no connection: {reason}") from error
