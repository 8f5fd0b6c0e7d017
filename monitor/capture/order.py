"""What of a camera is to be read, and how it is looked at: by its capture process, and by the doctor."""

from dataclasses import dataclass

import numpy as np

from monitor.capture.hardware import Decode
from monitor.capture.reader import Views
from monitor.capture.sanity import Limits, unusable
from monitor.capture.source import Source, open_source
from monitor.locate.fit import fit
from monitor.locate.geometry import network_views
from monitor.records import Box, Image


@dataclass(frozen=True, slots=True)
class Order:
    """What a capture process is to read, and how.

    `roi` is (left, top, right, bottom) in pixels, `input_size` (height, width), `slots` the pictures that may
    be on their way or waiting; without `limits` every picture is judged. The others are as in the settings.
    """

    source: str
    every: bool
    reopen: bool
    input_size: tuple[int, int]
    slots: int
    fps: float | None = None
    loop: bool = False
    open_timeout: float = 5.0
    read_timeout: float = 5.0
    roi: tuple[int, int, int, int] | None = None
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.0
    frozen: int = 0
    decode: Decode = "software"
    limits: Limits | None = None

    def open(self) -> Source:
        """Opens the source; raises SourceError."""
        return open_source(
            self.source,
            fps=self.fps,
            loop=self.loop,
            own_rate=not self.every,
            open_timeout=self.open_timeout,
            read_timeout=self.read_timeout,
            decode=self.decode,
        )

    def boxes(self, width: int, height: int) -> tuple[Box, ...]:
        """The parts of a frame that are shown to the network; UsageError where they do not lie in it."""
        roi = None if self.roi is None else Box(*self.roi)
        rows, columns = self.tiles
        return network_views(width, height, roi=roi, tiles=(rows, columns), overlap=self.overlap)

    def amiss(self, image: Image) -> str | None:
        """Why a picture cannot be judged, if so. Looks at what is inspected: a dark surround is no fault."""
        if self.roi is not None:
            left, top, right, bottom = self.roi
            image = image[top:bottom, left:right]
        return None if self.limits is None or not image.size else unusable(image, self.limits)

    def views(self, image: Image) -> Views:
        """The parts that are shown to the network, and each at its size; UsageError as for `boxes`."""
        boxes = self.boxes(image.shape[1], image.shape[0])
        height, width = self.input_size
        parts = [image[box.top : box.bottom, box.left : box.right] for box in boxes]
        return boxes, np.stack([fit(part, (height, width)) for part in parts])
