"""What all network streams share: reading through FFmpeg, and naming the cause of a failure."""

import contextlib
import errno
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import av
import av.error

from monitor.capture.sources.address import redact_url
from monitor.capture.sources.base import FrameStamp
from monitor.capture.sources.decoder import DecodeMode, DecoderOptions, VideoDecoder, hw_accel
from monitor.errors import SourceError
from monitor.records import Image

_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH)


class NetworkSource:
    """A stream that FFmpeg opens by its URL. Timeouts in seconds.

    The first connection to the camera is the one that frames come over: many cameras take one client. A
    subclass gives FFmpeg's options, one set for each attempt; the next one follows where the camera refuses.
    """

    live = True
    frame_interval = None

    def __init__(
        self,
        url: str,
        attempts: list[dict[str, str]],
        *,
        open_timeout: float,
        decoding: DecoderOptions,
        decode: DecodeMode = "software",
    ) -> None:
        self._url = url
        self._display_url = redact_url(url)
        self._decoding = decoding
        hardware = hw_accel(decode)
        for number, options in enumerate(attempts, start=1):
            try:
                with self._translate_errors(open_timeout, "opening"):
                    self._video = VideoDecoder(
                        url,
                        self._display_url,
                        options,
                        open_timeout=open_timeout,
                        decoding=decoding._replace(joins_midway=True),
                        hardware=hardware,
                    )
                break
            except _RequestRefusedError:
                if number == len(attempts):
                    raise
        if decode == "hardware" and not self._video.in_hardware:
            self._video.close()
            raise SourceError(
                "codec",
                f"{self._display_url}: no device of this machine decodes {self.codec}; set decode = 'auto'",
            )

    @property
    def stamp(self) -> FrameStamp | None:
        """Times of the latest frame."""
        return self._video.stamp

    @property
    def source_time(self) -> float | None:
        """Seconds of the latest frame on the camera's clock; None where it has no clock."""
        return self._video.source_time if self._decoding.has_clock else None

    stream_time = source_time

    @property
    def codec(self) -> str:
        """Name of the encoding, such as `h264`."""
        return self._video.codec

    def read(self) -> Image | None:
        """Return the next frame, None when the camera ends the stream."""
        with self._translate_errors(self._decoding.read_timeout, "reading"):
            return self._video.read()

    def close(self) -> None:
        """End the session."""
        self._video.close()

    @contextlib.contextmanager
    def _translate_errors(self, timeout: float, action: str) -> Iterator[None]:
        started_at = time.monotonic()
        try:
            yield
        # `from None`: the text of FFmpeg's errors holds the URL with its password.
        except av.error.FFmpegError as error:
            # FFmpeg reports a read that was cut off at its time limit as one of several other errors.
            is_late = time.monotonic() - started_at >= timeout * 0.99
            raise self._describe_error(error, timeout if is_late else None, action) from None

    def _describe_error(self, error: av.error.FFmpegError, timeout: float | None, action: str) -> SourceError:
        """Name the cause; `timeout` is the time limit that is over, if it is."""
        parts = urlsplit(self._url)
        host, shown = parts.hostname or "", self._display_url
        # FFmpeg reports a name that cannot be resolved as an input/output error.
        if action == "opening" and error.errno == errno.EIO and not _resolves(host):
            return SourceError("dns", f"{shown}: the host name '{host}' cannot be resolved")
        if timeout is not None:
            hint = "; raise open_timeout if the camera needs longer" if action == "opening" else ""
            return SourceError("timeout", f"{shown}: no answer in {timeout:g} s ({action} the stream){hint}")
        if action == "opening" and parts.scheme.lower() in ("rtsps", "https") and _is_broken_handshake(error):
            return SourceError("tls", f"{shown}: no TLS connection; does the camera use TLS on this port?")
        match error:
            case av.error.ConnectionRefusedError():
                return SourceError("refused", f"{shown}: connection refused; nothing listens on the port")
            case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
                cause, reason = "authentication", "the camera refuses this user and password"
            case av.error.HTTPNotFoundError():
                cause, reason = "not-found", "the camera knows no such stream"
            case av.error.ExitError() | av.error.TimeoutError():
                cause, reason = "timeout", "the camera stopped answering"
            case av.error.InvalidDataError():
                cause, reason = "gone", "the camera closed the connection or sent no valid answer"
            case av.error.DecoderNotFoundError() | av.error.PatchWelcomeError():
                cause, reason = "codec", f"the video cannot be decoded: {error.strerror}"
            case av.error.HTTPClientError():
                return _RequestRefusedError("refused", f"{shown}: the camera refused: {error.strerror}")
            case av.error.HTTPError():
                cause, reason = "refused", f"the camera refused: {error.strerror}"
            case _ if error.errno == errno.EPROTONOSUPPORT:
                reason = "the camera refuses this transport; set transport = 'auto'"
                return _RequestRefusedError("refused", f"{shown}: {reason}")
            case _ if error.errno in _UNREACHABLE:
                cause, reason = "timeout", f"no connection: {error.strerror}"
            case _:
                cause, reason = "gone", f"the connection broke: {error.strerror}"
        return SourceError(cause, f"{shown}: {reason} ({action} the stream)")


class _RequestRefusedError(SourceError):
    """The camera answered, and refused what it was asked for: another request may help."""


def _resolves(host: str) -> bool:
    """Return whether the system finds an address for `host`. Asks the name server, never the camera."""
    try:
        socket.getaddrinfo(host, None)
    except (socket.gaierror, UnicodeError):
        return False
    return True


def _is_broken_handshake(error: av.error.FFmpegError) -> bool:
    return error.errno == errno.EIO or isinstance(error, av.error.EOFError)
