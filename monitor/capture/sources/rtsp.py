"""Video files and network streams, through FFmpeg's libraries (PyAV)."""

import contextlib
import errno
import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import av
import av.error

from monitor.capture.sources.address import redact_url
from monitor.capture.sources.decoder import DecodeMode, VideoDecoder, _describe_error, hw_accel
from monitor.errors import SourceError
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


class RtspSource:
    """A camera's RTSP stream over TCP, or over TLS for `rtsps`. Timeouts in seconds.

    A camera's certificate is not verified: hardly one has a certificate that could be. `decode="hardware"`
    refuses (`codec`) a stream that no device of this machine decodes.
    """

    live = True
    frame_interval = None

    def __init__(
        self, url: str, *, open_timeout: float, read_timeout: float, decode: DecodeMode = "software"
    ) -> None:
        self._shown = redact_url(url)
        _check_reachable(url, self._shown, open_timeout)
        with self._translate_errors(open_timeout, "opening"):
            longest = str(
                int(max(open_timeout, read_timeout) * 1e6)
            )  # microseconds, for each socket operation
            self._video = VideoDecoder(
                url,
                self._shown,
                {**_NETWORK_OPTIONS, "timeout": longest},
                (open_timeout, read_timeout),
                hw_accel(decode),
                joins_midway=True,
            )
        self._read_timeout = read_timeout
        if decode == "hardware" and not self._video.in_hardware:
            self._video.close()
            raise SourceError(
                "codec",
                f"{self._shown}: no device of this machine decodes {self.codec}; decode = 'auto' needs none",
            )

    @property
    def source_time(self) -> float | None:
        """Seconds of the latest picture on the camera's clock."""
        return self._video.source_time

    stream_time = source_time

    @property
    def codec(self) -> str:
        """How the pictures are coded, such as `h264`."""
        return self._video.codec

    def read(self) -> Image | None:
        """The next picture, None when the camera ends the stream."""
        with self._translate_errors(self._read_timeout, "reading"):
            return self._video.read()

    def close(self) -> None:
        """Ends the session."""
        self._video.close()

    @contextlib.contextmanager
    def _translate_errors(self, timeout: float, doing: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        # `from None`: the text of FFmpeg's errors holds the URL with its password.
        except av.error.FFmpegError as error:
            # FFmpeg reports a read that was cut off at its time limit as one of several other errors.
            late = time.monotonic() - began >= timeout * 0.99
            cause, what = ("timeout", f"no answer in {timeout:g} s") if late else _describe_error(error)
            raise SourceError(cause, f"{self._shown}: {what} ({doing} the stream)") from None


def _check_reachable(url: str, display_url: str, timeout: float) -> None:
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
        raise SourceError("dns", f"{display_url}: the host name '{host}' cannot be resolved") from error
    except ssl.SSLError as error:
        raise SourceError("tls", f"{display_url}: no TLS connection: {error.reason or error}") from error
    except TimeoutError as error:
        raise SourceError("timeout", f"{display_url}: no connection in {timeout:g} s") from error
    except ConnectionRefusedError as error:
        raise SourceError("refused", f"{display_url}: nothing listens on port {port}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        cause = "timeout" if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH) else "gone"
        raise SourceError(cause, f"{display_url}: no connection: {reason}") from error
