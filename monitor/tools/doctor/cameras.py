"""Open each camera and report a frame with its size, rate and codec, or why there is none."""

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
from monitor.capture.sources.base import EncodedSource, NoFrameYet, Source, StampedSource
from monitor.capture.sources.v4l2_formats import list_formats
from monitor.errors import ImageError, SourceError, UsageError
from monitor.records import Box, Image
from monitor.tools.doctor.result import CheckResult, Figure, failed, ok, skipped

_RATE_SECONDS = 2.0
"""Seconds for which a live source is read to measure its rate."""


_MAX_BAD_FRAMES = 20
"""Frames that may be bad before the first good one."""


_MAX_FORMATS = 12
"""Formats of a device that a sentence lists; the figures hold all of them."""


_PROGRAM = ("defect-monitor", "monitor.capture")


_UNUSABLE = "check lens, light and exposure; --save-pictures saves the frame, [sanity] sets what is refused"


_REMEDIES: Mapping[str, str] = {
    "refused": "is the camera on, and are address, port and permissions right?",
    "timeout": "is the camera on, and does the network reach it?",
    "dns": "check the host name and this machine's DNS, or use the camera's IP address",
    "authentication": "check username and password; best as ${NAME} from the environment",
    "tls": "does the camera speak TLS on this port? rtsp:// is without",
    "not-found": "check the path of the source",
    "no-video": "choose a source that has video",
    "codec": "set the camera to H.264, H.265 or MJPEG",
    "end-of-stream": "the camera ended the stream by itself: see its own log",
    "busy": "stop the program that uses the camera",
    "gone": "check cable, power and network, then try again",
    "invalid": "write the source as the README says",
    "unreadable": "replace the files that are damaged, or set the camera to H.264, H.265 or MJPEG",
    "unusable": "set bit_depth of this camera to the bits that it delivers",
    "fault": "report this, with the support bundle",
}


@dataclass(frozen=True, slots=True)
class CameraTarget:
    """A camera to check: how to `open` the source, the `views` of a frame (width, height) that are
    classified, and `unusable_reason` returns why a frame cannot be."""

    name: str
    source: str
    open: Callable[[], Source]
    views: Callable[[int, int], tuple[Box, ...]]
    unusable_reason: Callable[[Image], str | None] = lambda _: None


@dataclass(frozen=True, slots=True, eq=False)
class CameraCheck:
    """The result for one camera, with its frame if there is one."""

    answer: CheckResult
    image: Image | None = None


def look_at_all(cameras: list[CameraTarget], timeout: float) -> list[CameraCheck]:
    """Check all cameras at once, within `timeout` seconds; one that hangs holds up no other."""
    looks: dict[str, CameraCheck] = {}

    def look(camera: CameraTarget) -> None:
        try:
            looks[camera.name] = check_camera(camera)
        except Exception as error:  # of the program; the other cameras are checked all the same
            message = f"the check failed unexpectedly: {type(error).__name__}"
            looks[camera.name] = CameraCheck(failed(_named(camera), message, _REMEDIES["fault"]))

    threads = [threading.Thread(target=look, args=(camera,), daemon=True) for camera in cameras]
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"neither a frame nor an answer in {timeout:g} s"
    return [
        looks.get(camera.name, CameraCheck(failed(_named(camera), late, _REMEDIES["timeout"])))
        for camera in cameras
    ]


def check_camera(camera: CameraTarget) -> CameraCheck:
    """Open one camera and read a frame; a live one is read for a while to measure its rate."""
    name = _named(camera)
    try:
        began = time.monotonic()
        with contextlib.closing(camera.open()) as source:
            image = _first_frame(source, camera)
            seconds = time.monotonic() - began
            rate = _rate(source)
            codec = _codec(source)
    except NoFrameYet:
        return CameraCheck(ok(name, "the watched folder can be read; no complete image is in it now"))
    except (SourceError, ImageError) as error:
        return CameraCheck(_failed(camera, error))
    height, width = image.shape[:2]
    message = (
        f"{width}x{height}" + (f", {rate:.3g} frames/s" if rate else "") + (f", {codec}" if codec else "")
    )
    figures: dict[str, Figure] = {"width": width, "height": height, "first_picture_s": round(seconds, 3)}
    figures |= {"frames_per_second": round(rate, 2)} if rate else {}
    figures |= {"codec": codec} if codec else {}
    offered = _offered_formats(camera)
    figures |= {"formats": "; ".join(offered)} if offered else {}
    try:
        parts = len(camera.views(width, height))
    except UsageError as error:
        return CameraCheck(
            failed(
                name,
                f"{message}, but it is misconfigured: {error}",
                "set the camera's resolution, or expected_size, roi and tiles, so that they fit",
                figures,
            ),
            image,
        )
    if why := camera.unusable_reason(image):
        return CameraCheck(
            failed(name, f"{message}, but its frame cannot be classified: {why}", _UNUSABLE, figures), image
        )
    message += f", {parts} tiles" if parts > 1 else ""
    message += f"; first frame after {seconds:.2f} s"
    message += f"; offers {', '.join(offered[:_MAX_FORMATS])}" if offered else ""
    message += f" and {len(offered) - _MAX_FORMATS} more" if len(offered) > _MAX_FORMATS else ""
    return CameraCheck(ok(name, message, figures), image)


def save_pictures(looks: list[CameraCheck], names: list[str], folder: Path) -> CheckResult:
    """Write each frame as `<name>.png`, over an earlier one."""
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
    """Return other processes that have the file or device at `path` open, as (id, command line)."""
    found = []
    try:
        target = Path(path).resolve(strict=True)
    except OSError:
        return []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) != threading.get_native_id() and any(
                link.readlink() == target for link in (process / "fd").iterdir()
            ):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(process.name), command.strip()))
        except OSError:
            continue  # it has ended, or is not ours to see
    return sorted(found)


def _named(camera: CameraTarget) -> str:
    return f"camera {camera.name}"


def _first_frame(source: Source, camera: CameraTarget) -> Image:
    """Return the first good frame. Raises what was wrong with the last bad one, if there is none."""
    problem: SourceError | ImageError = SourceError("no-video", f"{camera.name}: the source holds no frame")
    for left in reversed(range(_MAX_BAD_FRAMES)):
        try:
            image = source.read()
        except NoFrameYet as pause:  # of a watched folder: a new file must not change for a moment
            if not left:
                raise
            time.sleep(pause.seconds)
            continue
        except ImageError as error:
            problem = error
            continue
        if image is None:
            break
        return image
    raise problem


def _rate(source: Source) -> float | None:
    """Frames per second: as they arrive from a camera, as they are to be read from anything else."""
    if source.frame_interval:
        return 1 / source.frame_interval
    if not source.live or not isinstance(source, StampedSource):
        return None
    # What was queued at the camera comes in a burst: the first half is left out.
    arrivals = []
    started_at = time.monotonic()
    while time.monotonic() - started_at < _RATE_SECONDS:
        with contextlib.suppress(ImageError):
            if source.read() is None:
                break
            if source.stamp is not None:
                arrivals.append(source.stamp.arrived)
    steps = [later - earlier for earlier, later in itertools.pairwise(arrivals[len(arrivals) // 2 :])]
    period = statistics.mean(steps) if steps else 0.0
    return 1 / period if period > 0 else None


def _codec(source: Source) -> str | None:
    return source.codec if isinstance(source, EncodedSource) else None


def _offered_formats(camera: CameraTarget) -> list[str]:
    address = parse_address(camera.source)
    if address.kind != "device":
        return []
    try:
        return [str(found) for found in list_formats(address.location)]
    except OSError:
        return []


def _failed(camera: CameraTarget, error: SourceError | ImageError) -> CheckResult:
    name = _named(camera)
    cause = error.cause
    address = parse_address(camera.source)
    if cause == "invalid" and (offered := _offered_formats(camera)):
        remedy = f"choose what the device offers: {', '.join(offered[:_MAX_FORMATS])}"
        return failed(name, str(error), remedy, {"cause": cause, "formats": "; ".join(offered)})
    if address.kind == "device" and cause in ("busy", "no-video"):
        for process, command in open_by(address.location):
            if any(word in command for word in _PROGRAM):
                return skipped(
                    name, f"in use by a running defect-monitor (process {process}): see its metrics"
                )
            program = Path(command.split(" ")[0]).name
            return failed(name, f"{error}: {program} (process {process}) has it open", _REMEDIES["busy"])
    return failed(name, str(error), _REMEDIES.get(cause, _REMEDIES["gone"]), {"cause": cause})
