"""What a source of pictures is, and which text opens which."""

from typing import Protocol, get_args

from monitor.records import FailureCause, Image

FAILURE_CAUSES: frozenset[str] = frozenset(get_args(FailureCause))
"""The words a SourceError gives as its cause."""


SIMULATION_FPS = 15.0
"""Pictures a second of a simulated line, if nothing else is asked for."""


class Source(Protocol):
    """Gives pictures one after the other. Used by one thread."""

    @property
    def live(self) -> bool:
        """Whether an end is a fault, after which it is opened anew: cameras, streams, and all that loops."""

    @property
    def frame_interval(self) -> float | None:
        """Seconds from one picture to the next that the reader should keep; None: as they come."""

    @property
    def source_time(self) -> float | None:
        """Seconds of the latest picture on the source's own clock, where it has one."""

    def read(self) -> Image | None:
        """The next picture, None at the end.

        Raises ImageError for one bad picture, after which reading goes on, and SourceError when it cannot go
        on.
        """

    def close(self) -> None:
        """Gives back what is held open; may be called twice."""
