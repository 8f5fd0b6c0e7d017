"""Which device of this machine decodes video, if any does."""

import functools
import logging
from typing import Literal

import av
import av.error
from av.codec.hwaccel import HWAccel, hwdevices_available

log = logging.getLogger(__name__)

Decode = Literal["auto", "software", "hardware"]
"""Where streams are decoded: `hardware` insists on it, `auto` takes it where it is there."""


@functools.cache
def decoding_device() -> str | None:
    """The first kind of device, in FFmpeg's words such as `cuda`, that is there and takes H.264; says which.

    FFmpeg names all kinds it was built for, there or not: each is tried, once in a process.
    """
    for kind in hwdevices_available():
        try:
            HWAccel(kind).create(av.Codec("h264", "r"))
        except (av.error.FFmpegError, NotImplementedError):
            continue
        log.info("streams are decoded by %s, where it takes their codec", kind)
        return kind
    log.info("streams are decoded in software: no device that could is on this machine")
    return None


def accelerator(decode: Decode) -> HWAccel | None:
    """What PyAV is to decode with, None for software; what the device does not take falls back to it."""
    kind = None if decode == "software" else decoding_device()
    return None if kind is None else HWAccel(kind, allow_software_fallback=True)
