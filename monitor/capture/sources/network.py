"""What all network streams share: reading through FFmpeg, and naming the cause of a failure."""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import av
import av.error
from av.codec.hwaccel import HWAccel

from monitor.capture.sources.address import redact_url
from monitor.capture.sources.base import FrameStamp
from monitor.capture.sources.decoder import VideoDecoder
from monitor.capture.sources.hardware import DecodeMode, hw_accel
from monitor.capture.sources.packets import DecoderOptions
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
        self._video = self._open(attempts, open_timeout, hw_accel(decode))
        if decode == "hardware" and not self._video.in_hardware:
            self._video.close()
            raise SourceError(
                "codec",
                f"{self._display_url}: no device of this machine decodes {self.codec}; set decode = 'auto'",
            )

    def _open(
        self, attempts: list[dict[str, str]], open_timeout: float, hardware: HWAccel | None
    ) -> VideoDecoder:
        self._reject_unknown_host()
        refusal: SourceError | None = None
        for options in attempts:
            try:
                with self._translate_errors(open_timeout, "opening"):
                    return VideoDecoder(
                        self._url,
                        self._display_url,
                        options,
                        open_timeout=open_timeout,
                        decoding=self._decoding._replace(joins_midway=True),
                        hardware=hardware,
                    )
            except _RequestRefusedError as error:
                refusal = refusal or error
            except SourceError as error:
                if refusal is not None and error.cause not in ("no-video", "codec"):
                    break
                raise
        raise refusal or SourceError("fault", f"{self._display_url}: no way to open it")

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

    def _reject_unknown_host(self) -> None:
        """Raise for a name without an address. Asks the name server, never the camera.

        FFmpeg reports such a name as an input/output error. Asking once it has failed is too late: the name
        server may be back by then.
        """
        parts = urlsplit(self._url)
        if "http_proxy" in os.environ and parts.scheme.lower().startswith("http"):
            return  # the proxy finds the address
        try:
            socket.getaddrinfo(parts.hostname or "", None)
        except (socket.gaierror, UnicodeError):
            text = f"{self._display_url}: the host name '{parts.hostname}' cannot be resolved"
            raise SourceError("dns", text) from None

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
        parts, shown = urlsplit(self._url), self._display_url
        if timeout is not None:
            hint = "; raise open_timeout if the camera needs longer" if action == "opening" else ""
            return SourceError("timeout", f"{shown}: no answer in {timeout:g} s ({action} the stream){hint}")
        if action == "opening" and parts.scheme.lower() in ("rtsps", "https") and _is_broken_handshake(error):
            return SourceError("tls", f"{shown}: no TLS connection; does the camera use TLS on this port?")
        cause, reason = _cause_of(error)
        kind = _RequestRefusedError if _may_take_another_request(error) else SourceError
        return kind(cause, f"{shown}: {reason} ({action} the stream)")


class _RequestRefusedError(SourceError):
    """The camera answered, and refused what it was asked for: another request may help."""


def _is_broken_handshake(error: av.error.FFmpegError) -> bool:
    return error.errno == errno.EIO or isinstance(error, av.error.EOFError)


def _may_take_another_request(error: av.error.FFmpegError) -> bool:
    """Whether the camera refused what was asked for, and not who asks or for which stream."""
    final = av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError, av.error.HTTPNotFoundError
    is_refusal = isinstance(error, av.error.HTTPClientError) and not isinstance(error, final)
    return is_refusal or error.errno == errno.EPROTONOSUPPORT


def _cause_of(error: av.error.FFmpegError) -> tuple[str, str]:
    by_type: list[tuple[tuple[type[Exception], ...], str, str]] = [
        ((av.error.ConnectionRefusedError,), "refused", "connection refused; nothing listens on the port"),
        (
            (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError),
            "authentication",
            "the camera refuses this user and password",
        ),
        ((av.error.HTTPNotFoundError,), "not-found", "the camera knows no such stream"),
        ((av.error.ExitError, av.error.TimeoutError), "timeout", "the camera stopped answering"),
        (
            (av.error.InvalidDataError,),
            "gone",
            "the camera closed the connection or sent no valid answer",
        ),
        (
            (av.error.DecoderNotFoundError, av.error.PatchWelcomeError),
            "codec",
            f"the video cannot be decoded: {error.strerror}",
        ),
        ((av.error.HTTPClientError, av.error.HTTPError), "refused", f"the camera refused: {error.strerror}"),
    ]
    for types, cause, reason in by_type:
        if isinstance(error, types):
            return cause, reason
    if error.errno == errno.EPROTONOSUPPORT:
        return "refused", "the camera refuses this transport; set transport = 'auto'"
    if error.errno in _UNREACHABLE:
        return "timeout", f"no connection: {error.strerror}"
    return "gone", f"the connection broke: {error.strerror}"
