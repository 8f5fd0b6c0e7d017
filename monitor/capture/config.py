"""What to read of a camera and how to check and cut its frames, for its capture process and the doctor."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.capture.image_checks import QualityLimits, unusable_reason
from monitor.capture.sources.base import Source
from monitor.capture.sources.hardware import DecodeMode
from monitor.capture.sources.opening import Rotation, open_source
from monitor.capture.sources.rtsp import Transport
from monitor.errors import UsageError
from monitor.imaging.geometry import resize_to_input, tile_boxes
from monitor.records import Box, Image

Tiles = tuple[tuple[Box, ...], NDArray[np.uint8]]
"""The parts of a frame that are shown to the network, and each at its size: (b, h, w, 3) uint8."""


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """What a capture process reads, and how.

    `roi` is (left, top, right, bottom) in pixels, `input_size` (height, width) of the network's input,
    `expected_size` (width, height) of a frame. `buffer_slots` frames may be on their way, `buffer` of them
    queued, none for more than `max_age` seconds (None: see `AdmissionControl`). Without
    `limits` every frame is inspected; `find_lost` reports gaps in time stamps; `triggered` cameras may be
    silent for ever. The others are as in the settings. `source` may hold a password.
    """

    source: str = field(repr=False)
    every: bool
    reopen: bool
    input_size: tuple[int, int]
    buffer_slots: int
    buffer: int = 8
    max_age: float | None = None
    fps: float | None = None
    loop: bool = False
    open_timeout: float = 5.0
    read_timeout: float = 5.0
    triggered: bool = False
    transport: Transport = "auto"
    rotate: Rotation = 0
    bit_depth: int | None = None
    size: tuple[int, int] | None = None
    pixel_format: str | None = None
    exposure: float | None = None
    gain: float | None = None
    expected_size: tuple[int, int] | None = None
    roi: tuple[int, int, int, int] | None = None
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.0
    frozen_after: int = 0
    decode: DecodeMode = "software"
    limits: QualityLimits | None = None
    find_lost: bool = True
    watch: bool = False
    inspected_files: str | None = None

    @property
    def bounds_age(self) -> bool:
        """Whether queued frames become too old: by default not where the source waits or is triggered."""
        return self.max_age is not None or not (self.every or self.triggered)

    def open_source(self) -> Source:
        """Open the source. Raises SourceError."""
        return open_source(
            self.source,
            fps=self.fps,
            loop=self.loop,
            use_native_rate=not self.every,
            open_timeout=self.open_timeout,
            read_timeout=self.read_timeout,
            triggered=self.triggered,
            decode=self.decode,
            transport=self.transport,
            rotate=self.rotate,
            bit_depth=self.bit_depth,
            size=self.size,
            pixel_format=self.pixel_format,
            exposure=self.exposure,
            gain=self.gain,
            watch=self.watch,
            inspected_files=None if self.inspected_files is None else Path(self.inspected_files),
        )

    def tile_boxes(self, width: int, height: int) -> tuple[Box, ...]:
        """Return the parts of a frame that are shown to the network.

        Raises UsageError where the frame has not the expected size, or the parts do not lie in it.
        """
        if self.expected_size is not None and (width, height) != tuple(self.expected_size):
            wanted_width, wanted_height = self.expected_size
            raise UsageError(
                f"the camera delivers {width}x{height} pixels, but expected_size is "
                f"{wanted_width}x{wanted_height}; set the camera's resolution, or the settings, right"
            )
        roi = None if self.roi is None else Box(*self.roi)
        rows, columns = self.tiles
        return tile_boxes(width, height, roi=roi, tiles=(rows, columns), overlap=self.overlap)

    def unusable_reason(self, image: Image) -> str | None:
        """Return why a frame cannot be classified, if so. Checks the inspected part: the rest may be dark."""
        if self.roi is not None:
            left, top, right, bottom = self.roi
            image = image[top:bottom, left:right]
        return None if self.limits is None or not image.size else unusable_reason(image, self.limits)

    def cut_tiles(self, image: Image) -> Tiles:
        """Return the parts that are shown to the network, and each at its size. Raises as `tile_boxes`."""
        boxes = self.tile_boxes(image.shape[1], image.shape[0])
        height, width = self.input_size
        parts = [box.of(image) for box in boxes]
        return boxes, np.stack([resize_to_input(part, (height, width)) for part in parts])
