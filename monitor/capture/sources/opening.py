"""Which text opens which source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from monitor.capture.sources.address import parse_address
from monitor.capture.sources.base import SIMULATION_FPS, Source
from monitor.capture.sources.files import ImageFolderSource, VideoFileSource
from monitor.capture.sources.hardware import DecodeMode
from monitor.capture.sources.http_mjpeg import HttpMjpegSource
from monitor.capture.sources.inspected_files import InspectedFiles
from monitor.capture.sources.packets import DecoderOptions
from monitor.capture.sources.rotated import RotatedSource
from monitor.capture.sources.rtsp import RtspSource, Transport
from monitor.capture.sources.simulated import SimulatedSource
from monitor.capture.sources.v4l2 import DeviceOptions, V4l2Source
from monitor.capture.sources.watched import WatchedFolderSource
from monitor.errors import SourceError
from monitor.imaging.files import IMAGE_SUFFIXES

Rotation = Literal[0, 90, 180, 270]
"""Degrees by which each frame is turned, clockwise."""


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How a source is opened; each option has an effect where its kind of source has a use for it.

    `fps` sets the rate of folders, video files, simulations and devices; streams keep their own. Without it a
    video file has none, or its own rate with `use_native_rate`, and a simulation has 15. Timeouts are in
    seconds, `size` (width, height) and `bit_depth` (8..16) as in the settings. With `watch`, a folder or glob
    is watched for new files; the SQLite file `inspected_files` stores which were inspected.
    """

    fps: float | None = None
    loop: bool = False
    use_native_rate: bool = False
    open_timeout: float = 5.0
    read_timeout: float = 5.0
    triggered: bool = False
    decode: DecodeMode = "software"
    transport: Transport = "auto"
    rotate: Rotation = 0
    bit_depth: int | None = None
    size: tuple[int, int] | None = None
    pixel_format: str | None = None
    exposure: float | None = None
    gain: float | None = None
    watch: bool = False
    inspected_files: Path | None = None


def open_source(source: str, **options: Any) -> Source:
    """Open a device (`0`, `/dev/video0`), a stream, a video, images by folder or glob, or `simulate:`.

    Streams are `rtsp(s)://…` and Motion JPEG at `http(s)://…`; `options` are those of OpenOptions.
    Raises SourceError; its message shows no user,
    password or other secret of a URL.
    """
    chosen = OpenOptions(**options)
    opened = _open(source, chosen)
    return RotatedSource(opened, chosen.rotate) if chosen.rotate else opened


def _open(source: str, options: OpenOptions) -> Source:
    address = parse_address(source)
    interval = None if options.fps is None else 1 / options.fps
    decoding = DecoderOptions(options.read_timeout, options.triggered, bit_depth=options.bit_depth)
    match address.kind:
        case "simulation":
            return SimulatedSource(address.simulation, interval=interval or 1 / SIMULATION_FPS)
        case "device":
            wanted = DeviceOptions(
                options.size, options.fps, options.pixel_format, options.exposure, options.gain
            )
            return V4l2Source(address.location, wanted, triggered=options.triggered)
        case "stream" if address.location.lower().startswith("http"):
            return HttpMjpegSource(
                address.location,
                open_timeout=options.open_timeout,
                decoding=decoding,
                decode=options.decode,
            )
        case "stream":
            return RtspSource(
                address.location,
                open_timeout=options.open_timeout,
                decoding=decoding,
                decode=options.decode,
                transport=options.transport,
            )
        case "files" if options.watch:
            inspected = InspectedFiles(options.inspected_files)
            return WatchedFolderSource(
                address.location, inspected, interval=interval, bit_depth=options.bit_depth
            )
        case "files":
            return _open_files(address.location, interval, options)


def _open_files(location: str, interval: float | None, options: OpenOptions) -> Source:
    path = Path(location)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise SourceError("invalid", f"{location}: a pipe, socket or device, not a file or folder")
        is_video = path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES
    except OSError as error:
        raise SourceError("invalid", f"{location}: {error.strerror}") from error
    if is_video:
        return VideoFileSource(
            path,
            interval=interval,
            own_rate=options.use_native_rate,
            loop=options.loop,
            bit_depth=options.bit_depth,
        )
    return ImageFolderSource(location, interval=interval, loop=options.loop, bit_depth=options.bit_depth)
