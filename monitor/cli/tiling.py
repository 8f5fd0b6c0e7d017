"""The options of `train` and `evaluate` that cut frames as a camera's table does."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitor.learning.datasets.tiling import Tiling

AUTO = "auto"

ROI_HELP = "Use this part of each frame only: x,y,width,height in pixels."
OVERLAP_HELP = "Let neighbouring tiles overlap by this fraction of their side, 0 to 0.5."
LIKE_HELP = "Cut frames as the camera of this configuration file does (with --camera)."
CAMERA_HELP = "Name of the camera in the file of --like."


def read_tiling(
    roi: str | None,
    tiles: str | None,
    overlap: float | None,
    like: Path | None,
    camera: str | None,
) -> "Tiling | None":
    """Return what the options ask for; None where there are none of them; raises `UsageError`."""
    from monitor.errors import UsageError
    from monitor.learning.datasets.tiling import Tiling

    if camera is not None and like is None:
        raise UsageError("--camera names a camera of a configuration file: give the file with --like")
    if like is not None:
        if roi is not None or tiles is not None or overlap is not None:
            raise UsageError("--like takes roi, tiles and overlap from the file: leave out the other options")
        return _tiling_of_camera(like, camera)
    if roi is None and tiles is None and overlap is None:
        return None
    if overlap is not None and not 0 <= overlap <= 0.5:
        raise UsageError(f"--overlap must lie between 0 and 0.5, not be {overlap:g}")
    region = None
    if roi is not None:
        left, top, width, height = _numbers(roi, ",", 4, "--roi", "x,y,width,height, such as 0,40,640,400")
        if min(left, top) < 0 or min(width, height) < 1:
            raise UsageError(f"--roi {roi}: x and y must be 0 or more, width and height 1 or more")
        region = left, top, width, height
    rows, columns = 1, 1
    if tiles not in (None, AUTO):
        rows, columns = _numbers(tiles or "", "x", 2, "--tiles", "ROWSxCOLUMNS, such as 2x3")
        if min(rows, columns) < 1 or rows * columns > 256:
            raise UsageError(f"--tiles {tiles}: at least 1 of each, at most 256 together")
    return Tiling(region, (rows, columns), overlap or 0.0)


def _numbers(text: str, separator: str, count: int, option: str, form: str) -> Sequence[int]:
    from monitor.errors import UsageError

    try:
        numbers = [int(part) for part in text.replace(" ", "").lower().split(separator)]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise UsageError(f"{option} {text!r} is not {form}")
    return numbers


def _tiling_of_camera(path: Path, name: str | None) -> "Tiling":
    from monitor.errors import UsageError
    from monitor.learning.datasets.tiling import Tiling
    from monitor.settings.loader import load_settings

    cameras = load_settings(path).camera
    found = [camera for camera in cameras if name in (None, camera.name)]
    names = ", ".join(camera.name for camera in cameras)
    if not found:
        raise UsageError(f"{path} has no camera {name}: it has {names}")
    if len(found) > 1:
        raise UsageError(f"{path} has several cameras ({names}): choose one with --camera")
    return Tiling.of(found[0])
