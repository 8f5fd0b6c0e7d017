"""Videos of a simulated line with defects at the frames that a benchmark chooses."""

from collections.abc import Callable, Mapping
from pathlib import Path

import av

from monitor.imaging.ellipse import Ellipse
from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_video

_CAMERA: Mapping[str, str] = {"crf": "23", "preset": "veryfast", "tune": "fastdecode"}
"""The coarsest coding tried at which the shipped model flags exactly the defects; fast to decode."""


class PlannedDefects(SurfaceGenerator):
    """A simulated line with a defect in each image whose number `defective` selects."""

    def __init__(self, defective: Callable[[int], bool], side: int = 512, seed: int = 3) -> None:
        super().__init__(seed, side, side, defect_rate=1, textures=4)
        self._defective = defective

    def defect_at(self, number: int) -> Ellipse | None:
        """Return the ellipse around the defect of image `number`, None where it has none."""
        return super().defect_at(number) if self._defective(number) else None


def video(
    out: Path, frames: int, defective: Callable[[int], bool], *, fps: float = 30, side: int = 512
) -> Path:
    """Write an MP4 file (H.264, 60 kB per image of 512x512) of square images, unless it exists."""
    if not out.exists():
        write_video(PlannedDefects(defective, side), out, fps, frames, options=_CAMERA)
    return out


def uncompressed(video: Path) -> Path:
    """Write the same images uncompressed to a .nut file beside it, which needs no decoding."""
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
    """Select one image in `count`, at even distances; none for 0."""
    return lambda number: bool(count) and number % count == count // 2
