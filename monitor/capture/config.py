"""What of a camera is to be read, and how it is looked at: by its capture process, and by the doctor."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.capture.image_checks import QualityLimits, unusable_reason
from monitor.capture.sources.base import Source
from monitor.capture.sources.decoder import DecodeMode
from monitor.capture.sources.opening import open_source
from monitor.imaging.geometry import resize_to_input, tile_boxes
from monitor.records import Box, Image

Tiles = tuple[tuple[Box, ...], NDArray[np.uint8]]
"""The parts of a frame that are shown to the network, and each at its size: (b, h, w, 3) uint8."""


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """What a capture process is to read, and how.

    `roi` is (left, top, right, bottom) in pixels, `input_size` (height, width), `slots` the pictures that may
    be on their way or waiting; without `limits` every picture is judged. The others are as in the settings.
    """

    source: str
    every: bool
    reopen: bool
    input_size: tuple[int, int]
    buffer_slots: int
    fps: float | None = None
    loop: bool = False
    open_timeout: float = 5.0
    read_timeout: float = 5.0
    roi: tuple[int, int, int, int] | None = None
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.0
    frozen_after: int = 0
    decode: DecodeMode = "software"
    limits: QualityLimits | None = None
    watch: bool = False
    inspected_files: str | None = None

    def open_source(self) -> Source:
        """Opens the source; raises SourceError."""
        return open_source(
            self.source,
            fps=self.fps,
            loop=self.loop,
            use_native_rate=not self.every,
            open_timeout=self.open_timeout,
            read_timeout=self.read_timeout,
            decode=self.decode,
            watch=self.watch,
            inspected_files=None if self.inspected_files is None else Path(self.inspected_files),
        )

    def tile_boxes(self, width: int, height: int) -> tuple[Box, ...]:
        """The parts of a frame that are shown to the network; UsageError where they do not lie in it."""
        roi = None if self.roi is None else Box(*self.roi)
        rows, columns = self.tiles
        return tile_boxes(width, height, roi=roi, tiles=(rows, columns), overlap=self.overlap)

    def unusable_reason(self, image: Image) -> str | None:
        """Why a picture cannot be judged, if so. Looks at what is inspected: a dark surround is no fault."""
        if self.roi is not None:
            left, top, right, bottom = self.roi
            image = image[top:bottom, left:right]
        return None if self.limits is None or not image.size else unusable_reason(image, self.limits)

    def cut_tiles(self, image: Image) -> Tiles:
        """The parts that are shown to the network, and each at its size; UsageError as for `boxes`."""
        boxes = self.tile_boxes(image.shape[1], image.shape[0])
        height, width = self.input_size
        parts = [image[box.top : box.bottom, box.left : box.right] for box in boxes]
        return boxes, np.stack([resize_to_input(part, (height, width)) for part in parts])
