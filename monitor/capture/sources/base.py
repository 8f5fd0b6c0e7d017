"""What a source of frames is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, get_args, runtime_checkable

from monitor.records import FailureCause, Image

FAILURE_CAUSES: frozenset[str] = frozenset(get_args(FailureCause))
"""The causes that a SourceError may have."""


SIMULATION_FPS = 15.0
"""Default frames per second of a simulated line."""


class NoFrameYet(Exception):  # noqa: N818 (no error: a source says when to ask again)
    """There is no frame now; ask again in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no frame for {seconds:.2f} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class FrameOrigin:
    """Where a frame of a file comes from.

    `name` is valid Unicode: the file's name, of a video with the position (`clip.mp4#t=12.480`). `receipt`
    must be called when the frame has been inspected or reported as not inspected; None: nobody counts.
    """

    name: str | None = None
    receipt: Callable[[], None] | None = None


NO_ORIGIN = FrameOrigin()
"""Of a frame of a camera."""


@runtime_checkable
class FileSource(Protocol):
    """What a source of files has in addition to a `Source`."""

    @property
    def origin(self) -> FrameOrigin:
        """Where the latest frame comes from, or the latest file for which `read` raised ImageError."""


class Source(Protocol):
    """Gives frames one after the other. Used by one thread."""

    @property
    def live(self) -> bool:
        """Whether an end is a failure, after which it is opened again: cameras, streams, and loops."""

    @property
    def frame_interval(self) -> float | None:
        """Seconds between frames that the reader should keep; None: as they come."""

    @property
    def source_time(self) -> float | None:
        """Seconds of the latest frame on the source's own clock, where it has one."""

    @property
    def stream_time(self) -> float | None:
        """Time stamp of the latest frame in seconds, in a recording too; None where frames have none."""

    def read(self) -> Image | None:
        """Return the next frame, None at the end.

        Raises ImageError for one bad frame (DamagedError: decoded from incomplete data), after which reading
        goes on, NoFrameYet where a watched folder has no new file, and SourceError when reading cannot go on.
        """

    def close(self) -> None:
        """Release what is held open; may be called twice."""


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
