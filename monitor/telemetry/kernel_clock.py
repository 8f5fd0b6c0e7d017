"""Whether the kernel considers the wall clock synchronised."""

import ctypes
import logging
from dataclasses import dataclass

logger = logging.getLogger(__name__)


_NOT_SYNCHRONISED = 5  # TIME_ERROR in <sys/timex.h>


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """Whether the kernel considers the wall clock synchronised, and its largest error in seconds."""

    synchronised: bool
    largest_error: float


class _Timex(ctypes.Structure):
    """The beginning of `struct timex`, see adjtimex(2)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("largest_error", ctypes.c_long),  # microseconds
        ("estimated_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def kernel_time() -> ClockStatus:
    """Ask the kernel, to which every time service reports. Raises OSError."""
    request = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(request))
    if state < 0:
        code = ctypes.get_errno()
        raise OSError(code, "adjtimex")
    return ClockStatus(state != _NOT_SYNCHRONISED, request.largest_error / 1e6)


def kernel_synchronised() -> bool:
    """Return whether the kernel reports a synchronised wall clock; False where it refuses to answer."""
    try:
        return kernel_time().synchronised
    except OSError as error:
        logger.debug("the kernel does not report clock synchronisation", extra={"error": str(error)})
        return False
