"""Each camera, really opened: a picture, its size, rate and codec, or what keeps us from it."""

import contextlib
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2

from monitor.capture.sources.address import parse_address
from monitor.capture.sources.base import NoFrameYet, Source
from monitor.capture.sources.files import VideoFileSource
from monitor.capture.sources.rtsp import RtspSource
from monitor.capture.sources.v4l2 import V4l2Source
from monitor.errors import ImageError, SourceError, UsageError
from monitor.records import Box, Image
from monitor.tools.doctor.result import CheckResult, Figure, failed, ok, skipped

_LOOK = 2.0  # seconds that a live source is watched, to know its rate


_BAD_PICTURES = 20  # that may come before the first good one


_PROGRAM = ("defect-monitor", "monitor.capture")


_SIGHT = "look at lens, light and exposure; --save-pictures shows what it sees, [sanity] says what is refused"


_REMEDIES: Mapping[str, str] = {
    "refused": "is the camera on, and are address, port and permissions right?",
    "timeout": "is the camera on, and does the network reach it?",
    "dns": "check the host name and this machine's DNS, or use the camera's IP address",
    "authentication": "check user and password in the source; best as ${NAME} from the environment",
    "tls": "does the camera speak TLS on this port? rtsp:// is without",
    "not-found": "check the path of the source",
    "no-video": "choose a source that has video",
    "codec": "set the camera to H.264, H.265 or MJPEG",
    "end-of-stream": "the camera ended the stream by itself: see its own log",
    "busy": "stop the program that uses the camera",
    "gone": "check cable, power and network, then try again",
    "invalid": "write the source as the README says",
    "fault": "report this, with the support bundle",
}


@dataclass(frozen=True, slots=True)
class CameraTarget:
    """What is looked at: how to `open` the source, the `views` of a frame (width, height) that are
    judged, and what is `amiss` with a picture that cannot be."""

    name: str
    source: str
    open: Callable[[], Source]
    views: Callable[[int, int], tuple[Box, ...]]
    amiss: Callable[[Image], str | None] = lambda _: None


@dataclass(frozen=True, slots=True, eq=False)
class CameraCheck:
    """How a camera stands, with its picture if there is one."""

    answer: CheckResult
    image: Image | None = None


def look_at_all(cameras: list[CameraTarget], timeout: float) -> list[CameraCheck]:
    """Look at all of them at once, for `timeout` seconds at most; one that hangs is left behind."""
    looks: dict[str, CameraCheck] = {}

    def look(camera: CameraTarget) -> None:
        try:
            looks[camera.name] = check_camera(camera)
        except Exception as error:  # of the program; the other cameras are looked at all the same
            told = f"looking at it failed in an unforeseen way: {type(error).__name__}"
            looks[camera.name] = CameraCheck(failed(_named(camera), told, _REMEDIES["fault"]))

    threads = [threading.Thread(target=look, args=(camera,), daemon=True) for camera in cameras]
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"neither a picture nor an answer in {timeout:g} s"
    return [
        looks.get(camera.name, CameraCheck(failed(_named(camera), late, _REMEDIES["timeout"])))
        for camera in cameras
    ]


def check_camera(camera: CameraTarget) -> CameraCheck:
    """Open one camera and read a picture; a live one is read for a while, to know its rate."""
    name = _named(camera)
    try:
        began = time.monotonic()
        with contextlib.closing(camera.open()) as source:
            image = _first_picture(source, camera)
            seconds = time.monotonic() - began
            rate = _rate(source)
            codec = _codec(source)
    except NoFrameYet:
        return CameraCheck(ok(name, "the watched folder can be read; no complete image is in it now"))
    except (SourceError, ImageError) as error:
        return CameraCheck(_failed(camera, error))
    height, width = image.shape[:2]
    told = f"{width}x{height}" + (f", {rate:.3g} frames/s" if rate else "") + (f", {codec}" if codec else "")
    figures: dict[str, Figure] = {"width": width, "height": height, "first_picture_s": round(seconds, 3)}
    figures |= {"frames_per_second": round(rate, 2)} if rate else {}
    figures |= {"codec": codec} if codec else {}
    try:
        parts = len(camera.views(width, height))
    except UsageError as error:
        return CameraCheck(
            failed(name, f"{told}, but {error}", "set roi and tiles to fit the picture", figures), image
        )
    if why := camera.amiss(image):
        return CameraCheck(
            failed(name, f"{told}, but its picture cannot be judged: {why}", _SIGHT, figures), image
        )
    told += f", {parts} tiles" if parts > 1 else ""
    return CameraCheck(ok(name, f"{told}; first picture after {seconds:.2f} s", figures), image)


def save_pictures(looks: list[CameraCheck], names: list[str], folder: Path) -> CheckResult:
    """Write what was seen as `<name>.png`, over an earlier one."""
    saved = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, look in zip(names, looks, strict=True):
            if look.image is not None:
                (folder / f"{name}.png").write_bytes(cv2.imencode(".png", look.image)[1].tobytes())
                saved += 1
    except OSError as error:
        return failed(
            "pictures", f"cannot write {error.filename or folder}: {error.strerror}", "choose another folder"
        )
    return ok("pictures", f"{saved} saved in {folder}", {"saved": saved})


def open_by(path: str) -> list[tuple[int, str]]:
    """Other processes that have the file or device at `path` open, as (id, command line), where visible."""
    found = []
    try:
        wanted = Path(path).resolve(strict=True)
    except OSError:
        return []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != threading.get_native_id() and any(
                link.readlink() == wanted for link in (process / "fd").iterdir()
            ):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(process.name), command.strip()))
        except OSError:
            continue  # it has ended, or is not ours to see
    return sorted(found)


def _named(camera: CameraTarget) -> str:
    return f"camera {camera.name}"


def _first_picture(source: Source, camera: CameraTarget) -> Image:
    for left in reversed(range(_BAD_PICTURES)):
        try:
            image = source.read()
        except NoFrameYet as pause:  # of a watched folder: a new file must not change for a moment
            if not left:
                raise
            time.sleep(pause.seconds)
            continue
        except ImageError:
            if not left:
                raise
            continue
        if image is None:
            break
        return image
    raise SourceError("no-video", f"{camera.name}: it ended before the first good picture")


def _rate(source: Source) -> float | None:
    """Pictures a second: as they come from a camera, as they are to be read from anything else."""
    if source.frame_interval:
        return 1 / source.frame_interval
    if not isinstance(source, RtspSource | V4l2Source):
        return None
    # What waited at the camera comes in a burst: the first half is left out. Its own stamps, if it has them.
    stamps = []
    began = time.monotonic()
    while time.monotonic() - began < _LOOK:
        with contextlib.suppress(ImageError):
            if source.read() is None:
                break
            stamps.append(time.monotonic() if source.source_time is None else source.source_time)
    steps = [later - earlier for earlier, later in itertools.pairwise(stamps[len(stamps) // 2 :])]
    usual = statistics.median(steps) if steps else 0.0
    return 1 / usual if usual > 0 else None


def _codec(source: Source) -> str | None:
    return source.codec if isinstance(source, RtspSource | VideoFileSource | V4l2Source) else None


def _failed(camera: CameraTarget, error: SourceError | ImageError) -> CheckResult:
    name = _named(camera)
    cause = error.cause if isinstance(error, SourceError) else "codec"
    address = parse_address(camera.source)
    if address.kind == "device" and cause in ("busy", "no-video"):
        for process, command in open_by(address.location):
            if any(word in command for word in _PROGRAM):
                return skipped(
                    name, f"in use by a running defect-monitor (process {process}): see its metrics"
                )
            program = Path(command.split(" ")[0]).name
            return failed(name, f"{error}: {program} (process {process}) has it open", _REMEDIES["busy"])
    return failed(name, str(error), _REMEDIES.get(cause, _REMEDIES["gone"]), {"cause": cause})
