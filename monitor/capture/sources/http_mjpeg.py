"""A camera's Motion JPEG stream over HTTP."""

from monitor.capture.sources.hardware import DecodeMode
from monitor.capture.sources.network import NetworkSource
from monitor.capture.sources.packets import DecoderOptions

_OPTIONS = {
    # Nothing else: a page or a playlist from another address is no camera.
    "format_whitelist": "mpjpeg,mjpeg,jpeg_pipe",
    "protocol_whitelist": "http,https,tcp,tls,crypto,httpproxy",
    "fpsprobesize": "0",
    "probesize": "2048",  # bytes: the head of the first frame is enough
    "analyzeduration": "1",  # microseconds; 0 would mean the default
    "multiple_requests": "0",
}


class HttpMjpegSource(NetworkSource):
    """Motion JPEG over HTTP or HTTPS, as `multipart/x-mixed-replace`. Timeouts in seconds.

    The camera's certificate is not verified. The stream carries no time stamps, so frames are stamped when
    they arrive.
    """

    def __init__(
        self, url: str, *, open_timeout: float, decoding: DecoderOptions, decode: DecodeMode = "software"
    ) -> None:
        limit = 0 if decoding.triggered else int(max(open_timeout, decoding.read_timeout) * 1e6)
        options = {**_OPTIONS, "rw_timeout": str(limit)} if limit else dict(_OPTIONS)
        # FFmpeg counts frames at 25 a second here, whatever the rate is.
        decoding = decoding._replace(has_clock=False)
        super().__init__(url, [options], open_timeout=open_timeout, decoding=decoding, decode=decode)
