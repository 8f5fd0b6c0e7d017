"""What a source of pictures is, and which text opens which."""

from pathlib import Path
from typing import Protocol, get_args

from monitor.capture.address import parse_address
from monitor.capture.device import Device
from monitor.capture.hardware import Decode
from monitor.capture.image_file import SUFFIXES
from monitor.capture.image_files import ImageFiles
from monitor.capture.simulated import SimulatedLine
from monitor.capture.stream import NetworkStream, VideoFile
from monitor.errors import SourceError
from monitor.records import Cause, Image

CAUSES: frozenset[str] = frozenset(get_args(Cause))
"""The words a SourceError gives as its cause."""

SIMULATION_FPS = 15.0
"""Pictures a second of a simulated line, if nothing else is asked for."""


class Source(Protocol):
    """Gives pictures one after the other. Used by one thread."""

    @property
    def live(self) -> bool:
        """Whether an end is a fault, after which it is opened anew: cameras, streams, and all that loops."""

    @property
    def interval(self) -> float | None:
        """Seconds from one picture to the next that the reader should keep; None: as they come."""

    @property
    def position(self) -> float | None:
        """Seconds of the latest picture on the source's own clock, where it has one."""

    def read(self) -> Image | None:
        """The next picture, None at the end.

        Raises ImageError for one bad picture, after which reading goes on, and SourceError when it cannot go
        on.
        """

    def close(self) -> None:
        """Gives back what is held open; may be called twice."""


def open_source(
    source: str,
    *,
    fps: float | None = None,
    loop: bool = False,
    own_rate: bool = False,
    open_timeout: float = 5.0,
    read_timeout: float = 5.0,
    decode: Decode = "software",
) -> Source:
    """Opens a device (`0`, `/dev/video0`), `rtsp(s)://…`, a video, images by folder or glob, or `simulate:`.

    `fps` sets the rate of folders, video files and simulations; cameras and streams keep their own. Without
    it a video file has none, or its own rate with `own_rate`, and a simulation has 15. Timeouts are in
    seconds; `decode` is for streams. Raises SourceError; its message shows no user, password or other secret
    of a URL.
    """
    address = parse_address(source)
    interval = None if fps is None else 1 / fps
    match address.kind:
        case "simulation":
            return SimulatedLine(address.simulation, interval=interval or 1 / SIMULATION_FPS)
        case "device":
            return Device(address.location)
        case "stream":
            return NetworkStream(
                address.location, open_timeout=open_timeout, read_timeout=read_timeout, decode=decode
            )
        case "files":
            path = Path(address.location)
            try:
                if path.exists() and not (path.is_file() or path.is_dir()):
                    raise SourceError(
                        "invalid", f"{address.location}: a pipe, socket or device, not a file or folder"
                    )
                is_video = path.is_file() and path.suffix.lower() not in SUFFIXES
            except OSError as error:
                raise SourceError("invalid", f"{address.location}: {error.strerror}") from error
            if is_video:
                return VideoFile(path, interval=interval, own_rate=own_rate, loop=loop)
            return ImageFiles(address.location, interval=interval, loop=loop)
