"""What every source of frames offers."""

from typing import NamedTuple, Protocol, get_args, runtime_checkable

from monitor.records import FailureCause, Image

FAILURE_CAUSES: frozenset[str] = frozenset(get_args(FailureCause))
"""The words a SourceError gives as its cause."""


SIMULATION_FPS = 15.0
"""Frames per second of a simulated line without the setting `fps`."""


class Source(Protocol):
    """Delivers frames one after the other. Used by one thread."""

    @property
    def live(self) -> bool:
        """Whether an end is a failure, after which the source is opened again: cameras, streams, loops."""

    @property
    def frame_interval(self) -> float | None:
        """Seconds from one frame to the next that the reader should keep; None: read as fast as possible."""

    def read(self) -> Image | None:
        """Return the next frame, None at the end.

        Raises ImageError for one bad frame, after which reading goes on, and SourceError when it cannot go
        on.
        """

    def close(self) -> None:
        """Release the source. May be called twice."""


class FrameStamp(NamedTuple):
    """What a source knows of the time of its latest frame. All values are in seconds."""

    arrived: float
    """When the frame reached this machine, on the monotonic clock."""
    waited: float
    """How long the reader waited for the frame. Near 0, it lay in a buffer and may be old."""
    source_time: float | None = None
    """The source's own time stamp, on a clock with an unknown origin; None where it stamps no frame."""
    capture_time: float | None = None
    """When the frame was captured, on the monotonic clock, as the source claims by a clock that it shares
    with this machine: RTCP sender reports, or the time stamps of a driver."""


@runtime_checkable
class StampedSource(Protocol):
    """A source that knows more of a frame's time than that it has been read."""

    @property
    def stamp(self) -> FrameStamp | None:
        """Times of the latest frame; None before the first one."""


@runtime_checkable
class EncodedSource(Protocol):
    """A source whose frames are encoded."""

    @property
    def codec(self) -> str:
        """Name of the encoding or of the pixel format, such as `h264` or `MJPG`."""
