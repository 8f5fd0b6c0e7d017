"""What a source of frames is."""

from typing import Protocol, get_args

from monitor.records import FailureCause, Image

FAILURE_CAUSES: frozenset[str] = frozenset(get_args(FailureCause))
"""The causes of a SourceError."""


SIMULATION_FPS = 15.0
"""Frames per second of a simulated line by default."""


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
        goes on, and SourceError when it cannot go on.
        """

    def close(self) -> None:
        """Release what is held open; may be called twice."""
