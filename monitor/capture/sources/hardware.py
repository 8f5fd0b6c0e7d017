"""Which device of this machine decodes video."""

import functools
import logging
from typing import Literal

import av
import av.error
from av.codec.hwaccel import HWAccel, hwdevices_available

logger = logging.getLogger(__name__)


DecodeMode = Literal["auto", "software", "hardware"]
"""Where streams are decoded: `hardware` requires a device, `auto` uses one if there is one."""


@functools.cache
def find_hw_decoder() -> str | None:
    """Find the first kind of device, named as FFmpeg does (`cuda`), that decodes H.264, and log it.

    FFmpeg lists all kinds it was built for, present or not: each is tried, once in a process.
    """
    for kind in hwdevices_available():
        try:
            HWAccel(kind).create(av.Codec("h264", "r"))
        except (av.error.FFmpegError, NotImplementedError):
            continue
        logger.info("hardware decoder found: %s", kind)
        return kind
    logger.info("no hardware decoder found; decoding in software")
    return None


def hw_accel(decode: DecodeMode) -> HWAccel | None:
    """Return the device to decode with, None for software; other codecs of a device fall back to software."""
    kind = None if decode == "software" else find_hw_decoder()
    return None if kind is None else HWAccel(kind, allow_software_fallback=True)
