"""A camera's RTSP stream."""

from typing import Literal

from monitor.capture.sources.hardware import DecodeMode
from monitor.capture.sources.network import NetworkSource
from monitor.capture.sources.packets import DecoderOptions

Transport = Literal["auto", "tcp", "udp"]
"""How an RTSP camera sends its frames. `auto`: over TCP, and over UDP where the camera refuses TCP."""


_OPTIONS = {
    # A camera that refuses its sound or talk-back track still has video.
    "allowed_media_types": "video",
    "flags": "low_delay",
    # Otherwise opening waits for seven frames or more to guess what nobody needs, and the first frames are
    # old when they come. ("nobuffer" does not help: it drops the frames seen while opening, the key frame
    # first; the next ones cannot be decoded.)
    "fpsprobesize": "0",
    "probesize": "32",  # bytes: the first frame is enough
    "analyzeduration": "1",  # microseconds; 0 would mean the default
}


_UDP = {
    "rtsp_transport": "udp",
    "buffer_size": "4194304",  # bytes; a key frame comes in one burst, and what does not fit is lost
}


_TRANSPORTS: dict[Transport, list[dict[str, str]]] = {
    # FFmpeg asks for the other transport in the same session where the camera answers 461, as it should. A
    # camera that refuses TCP in another way is connected to a second time.
    "auto": [{"rtsp_transport": "tcp+udp", "rtsp_flags": "prefer_tcp", "buffer_size": "4194304"}, _UDP],
    "tcp": [{"rtsp_transport": "tcp"}],
    "udp": [_UDP],
}


_SOUND = {"allowed_media_types": "video+audio"}


class RtspSource(NetworkSource):
    """A camera's RTSP stream, with TLS for `rtsps`. Timeouts in seconds.

    A camera's certificate is not verified: hardly any camera has one that could be. `decode="hardware"`
    refuses (`codec`) a stream that no device of this machine decodes.
    """

    def __init__(
        self,
        url: str,
        *,
        open_timeout: float,
        decoding: DecoderOptions,
        decode: DecodeMode = "software",
        transport: Transport = "auto",
    ) -> None:
        # Microseconds, for each operation of a socket; 0 is without limit.
        limit = 0 if decoding.triggered else int(max(open_timeout, decoding.read_timeout) * 1e6)
        ways = _TRANSPORTS[transport]
        # Without video, FFmpeg asks for nothing, and the camera refuses to play: ask for its sound.
        attempts = [
            {**_OPTIONS, "timeout": str(limit), **options} for options in (*ways, {**ways[0], **_SOUND})
        ]
        super().__init__(url, attempts, open_timeout=open_timeout, decoding=decoding, decode=decode)
