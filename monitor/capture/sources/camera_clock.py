"""The camera's wall clock, as its RTCP sender reports tell it."""

import struct
import time
from typing import Any

from av.packet import Packet


class SenderReportClock:
    """Turns a camera's time stamps into times of this machine's monotonic clock.

    Works only while the two wall clocks agree: the first frame must have been captured between the moment at
    which the stream was asked for and its arrival. A camera whose clock is wrong by more is not believed.
    """

    def __init__(self, opened_at: float) -> None:
        self._opened_at = opened_at
        self._first: tuple[float, float] | None = None
        self._offset: float | None = None

    def observe(self, packet: "Packet[Any]") -> None:
        """Read when the packet was produced, in FFmpeg's side data `prft`, by the latest report."""
        if packet.pts is None or packet.time_base is None or not packet.has_sidedata("prft"):
            return
        microseconds = struct.unpack_from("=q", bytes(packet.get_sidedata("prft")))[0]
        self._offset = microseconds / 1e6 - float(packet.pts * packet.time_base)

    def capture_time(self, source_time: float | None, arrived: float) -> float | None:
        """Return when a frame was captured, on the monotonic clock; None where that is not known."""
        if source_time is None:
            return None
        self._first = self._first or (source_time, arrived)
        if self._offset is None:
            return None
        to_monotonic = self._offset + time.monotonic() - time.time()
        first_time, first_arrived = self._first
        if not self._opened_at <= first_time + to_monotonic <= first_arrived:
            return None
        return source_time + to_monotonic
