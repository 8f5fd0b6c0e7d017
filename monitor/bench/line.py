"""Videos of a simulated line whose defective frames are where a benchmark wants them."""

from collections.abc import Callable
from pathlib import Path

from monitor.simulate.ellipse import Ellipse
from monitor.simulate.surface import SurfaceLine
from monitor.simulate.video import write_video


class PlannedLine(SurfaceLine):
    """A simulated line of which `defective` says, by number, which pictures have a defect."""

    def __init__(self, defective: Callable[[int], bool], side: int = 512, seed: int = 3) -> None:
        super().__init__(seed, side, side, defect_rate=1, textures=4)
        self._defective = defective

    def truth(self, number: int) -> Ellipse | None:
        """The ellipse around the defect of picture `number`, None where it has none."""
        return super().truth(number) if self._defective(number) else None


def video(
    out: Path, frames: int, defective: Callable[[int], bool], *, fps: float = 30, side: int = 512
) -> Path:
    """An MP4 file (H.264) of `frames` square pictures, made only where it is not there yet."""
    if not out.exists():
        write_video(PlannedLine(defective, side), out, fps, frames)
    return out


def one_in(count: int) -> Callable[[int], bool]:
    """One defect in so many pictures, at even distances; 0: none."""
    return lambda number: bool(count) and number % count == count // 2
