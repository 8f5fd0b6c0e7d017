"""Videos of a simulated line whose defective frames are where a benchmark wants them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import av

from monitor.imaging.ellipse import Ellipse
from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_video

_CAMERA: Mapping[str, str] = {"crf": "23", "preset": "veryfast", "tune": "fastdecode"}
"""The coarsest tried at which the shipped model flags exactly the defects, coded to be quick to decode."""


class PlannedDefects(SurfaceGenerator):
    """A simulated line of which `defective` says, by number, which pictures have a defect."""

    def __init__(self, defective: Callable[[int], bool], side: int = 512, seed: int = 3) -> None:
        super().__init__(seed, side, side, defect_rate=1, textures=4)
        self._defective = defective

    def defect_at(self, number: int) -> Ellipse | None:
        """The ellipse around the defect of picture `number`, None where it has none."""
        return super().defect_at(number) if self._defective(number) else None


def video(
    out: Path, frames: int, defective: Callable[[int], bool], *, fps: float = 30, side: int = 512
) -> Path:
    """An MP4 file (H.264, 60 kB a picture of 512x512) of square pictures, made where it is not there yet."""
    if not out.exists():
        write_video(PlannedDefects(defective, side), out, fps, frames, options=_CAMERA)
    return out


def uncompressed(video: Path) -> Path:
    """The same pictures as a .nut file without compression, beside it: what a recording costs undecoded."""
    out = video.with_suffix(".nut")
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        packed = source.streams.video[0]
        stream = target.add_stream("rawvideo", rate=packed.average_rate)
        stream.width, stream.height, stream.pix_fmt = packed.width, packed.height, "bgr24"
        for picture in source.decode(packed):
            target.mux(stream.encode(picture.reformat(format="bgr24")))
        target.mux(stream.encode())
    return out


def every_nth(count: int) -> Callable[[int], bool]:
    """One defect in so many pictures, at even distances; 0: none."""
    return lambda number: bool(count) and number % count == count // 2
