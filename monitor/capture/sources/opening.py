"""Open the source that a text names."""

from pathlib import Path

from monitor.capture.sources.address import parse_address
from monitor.capture.sources.base import SIMULATION_FPS, Source
from monitor.capture.sources.decoder import DecodeMode
from monitor.capture.sources.files import ImageFolderSource, VideoFileSource
from monitor.capture.sources.inspected_files import InspectedFiles
from monitor.capture.sources.rtsp import RtspSource
from monitor.capture.sources.simulated import SimulatedSource
from monitor.capture.sources.v4l2 import V4l2Source
from monitor.capture.sources.watched import WatchedFolderSource
from monitor.errors import SourceError
from monitor.imaging.files import IMAGE_SUFFIXES


def open_source(
    source: str,
    *,
    fps: float | None = None,
    loop: bool = False,
    use_native_rate: bool = False,
    open_timeout: float = 5.0,
    read_timeout: float = 5.0,
    decode: DecodeMode = "software",
    watch: bool = False,
    inspected_files: Path | None = None,
) -> Source:
    """Open a device (`0`, `/dev/video0`), `rtsp(s)://…`, a video, images by folder or glob, or `simulate:`.

    `fps` sets the rate of folders, video files and simulations; cameras and streams keep their own. Without
    it a video file has none, or its own rate with `use_native_rate`, and a simulation has 15. Timeouts are in
    seconds; `decode` is for streams. With `watch`, a folder or glob is watched for new files; the SQLite file
    `inspected_files` stores which were inspected. Raises SourceError; its message shows no user, password or
    other secret of a URL.
    """
    address = parse_address(source)
    interval = None if fps is None else 1 / fps
    match address.kind:
        case "simulation":
            return SimulatedSource(address.simulation, interval=interval or 1 / SIMULATION_FPS)
        case "device":
            return V4l2Source(address.location)
        case "stream":
            return RtspSource(
                address.location, open_timeout=open_timeout, read_timeout=read_timeout, decode=decode
            )
        case "files":
            if watch:
                return WatchedFolderSource(
                    address.location, InspectedFiles(inspected_files), interval=interval
                )
            path = Path(address.location)
            try:
                if path.exists() and not (path.is_file() or path.is_dir()):
                    raise SourceError(
                        "invalid", f"{address.location}: a pipe, socket or device, not a file or folder"
                    )
                is_video = path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES
            except OSError as error:
                raise SourceError("invalid", f"{address.location}: {error.strerror}") from error
            if is_video:
                return VideoFileSource(path, interval=interval, own_rate=use_native_rate, loop=loop)
            return ImageFolderSource(address.location, interval=interval, loop=loop)
