"""Define the immutable records that stages exchange: plain values and arrays.

No stage changes a record; each stage creates the next one. There are two kinds of time: `captured_at` is wall
time for people and subscribers; every duration is a difference of monotonic times.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

Image = NDArray[np.uint8]
"""An image: (height, width, 3) uint8, channels blue, green, red."""

Heatmap = NDArray[np.float32]
"""A heat map: (rows, columns) float32, 0..1, highest where the evidence for the class is strongest."""

FailureCause = Literal[
    "refused",
    "timeout",
    "dns",
    "authentication",
    "tls",
    "not-found",
    "no-video",
    "codec",
    "end-of-stream",
    "busy",
    "gone",
    "invalid",
    "crashed",
    "stalled",
    "fault",
]
"""Why a source cannot be opened or read; `fault` is an error of this program."""

Stage = Literal["capture", "queue", "classify", "wait", "explain", "locate", "annotate", "publish"]
"""The processing stages of a frame. From `queue`, which begins at capture, to `publish`, which ends when the
event is acknowledged, each stage begins when the previous one ends."""

CameraState = Literal["starting", "up", "stalled", "frozen", "misconfigured", "down", "ended"]
"""The state of a camera: `stalled` delivers nothing, `frozen` repeats one frame, `down` cannot be read,
`misconfigured` delivers frames that do not fit `expected_size`, `roi` or `tiles`."""

CaptureClock = Literal["camera", "arrival"]
"""The source of a capture time: the camera's time stamps, or the arrival of the frame."""

FrameOutcome = Literal["clean", "defect", "unusable"]
"""The result of a frame that was checked. All others are `dropped`."""

ExplanationOutcome = Literal["full", "reduced", "skipped"]
"""How a flagged frame was explained: all maps scored, fewer or none scored, or without heat."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of one camera.

    `number` counts the frames of the camera from 0 since the daemon started, lost ones included.
    `captured_at` is the UTC time of capture, from the clock `captured_by`. `monotonic` is the same moment on
    the monotonic clock, in seconds. `tile_boxes` are the parts of the frame that the network classifies,
    `tile_inputs` (boxes, h, w, 3) uint8 those parts at the network's input size. `source_waits`: the source,
    such as a file, waits until its frames are processed, so that none is late. `source_name` is the name of
    the file that the frame comes from, with the position for a video. `receipt` is only held: when the last
    reference to the frame is gone, the capture process records the file as inspected. The arrays may lie in
    read-only memory shared with the capture process; they stay valid while referenced.
    """

    camera: str
    number: int
    captured_at: datetime
    monotonic: float
    image: Image
    tile_boxes: "tuple[Box, ...]"
    tile_inputs: NDArray[np.uint8]
    source_name: str | None = None
    source_waits: bool = False
    receipt: object = None
    captured_by: CaptureClock = "arrival"


@dataclass(frozen=True, slots=True)
class Box:
    """A box in pixels: left and top inclusive, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """Area in pixels."""
        return self.width * self.height

    def of(self, pixels: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return the part of `pixels` (h, w, …) inside the box, a view."""
        return pixels[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True, slots=True)
class Region:
    """One connected area of heat, in pixels of the camera's frame.

    `box` is the smallest one around the area or, where the model has a box head, the one that it predicts.
    `centroid` and `peak_at` are (x, y), pixel centres at whole numbers. `peak` is the highest heat
    inside, 0..1. `area` counts pixels above the threshold. `contour` is the closed outline as (x, y) points.
    """

    box: Box
    centroid: tuple[float, float]
    peak_at: tuple[float, float]
    peak: float
    area: int
    contour: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The classification of a frame by `score`, 0..1 (tiles: the highest): the higher, the more defective.

    The score is compared with the threshold; it is no calibrated probability.
    """

    label: str
    score: float
    threshold: float

    @property
    def defective(self) -> bool:
        """Whether the score reaches the threshold; at equality too, as a miss costs more than an alarm."""
        return self.score >= self.threshold


@dataclass(frozen=True, slots=True, eq=False)
class TileHeatmap:
    """Heat of one network input, with the part of the frame that it covers.

    `heatmap` is (rows, columns); `box` is the part of the frame, in the frame's pixels. `raw_peak` is the
    heat's maximum before it was scaled to 1, `score` the input's, 0..1. `extents` (rows, columns, 4) gives,
    for each hot cell, how far a defect there reaches to the left, top, right and bottom of the cell's centre,
    in pixels of the input; None where the model has no box head.
    """

    heatmap: Heatmap
    box: Box
    raw_peak: float
    score: float = 0.0
    extents: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where the evidence lies. Without `tile_heatmaps`, `reason` states why the frame is not localised."""

    method: str
    maps_used: int
    outcome: ExplanationOutcome
    tile_heatmaps: tuple[TileHeatmap, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """A flagged frame with its verdict, explanation and regions; `latency` maps each stage to seconds."""

    frame: Frame
    verdict: Verdict
    explanation: Explanation
    regions: tuple[Region, ...]
    latency: Mapping[Stage, float] = field(default_factory=dict)


NumberRanges = tuple[tuple[int, int], ...]
"""Frame numbers as ranges (first, last), both inclusive, ascending and disjoint."""


def add_numbers(ranges: NumberRanges, first: int, last: int) -> NumberRanges:
    """Add the numbers from `first` to `last`; ranges that overlap or adjoin become one."""
    if ranges and first == ranges[-1][1] + 1:  # the usual case
        return (*ranges[:-1], (ranges[-1][0], last))
    merged: list[tuple[int, int]] = []
    for start, end in sorted((*ranges, (first, last))):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


class LostFrames(NamedTuple):
    """One frame that was not inspected, or consecutive ones that never arrived.

    `captured_at` is the capture of the first, or when their loss began; `source_name` is the frame's file.
    """

    first: int
    last: int
    captured_at: datetime
    source_name: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames of one camera that were not inspected, and when.

    `numbers` are exactly these frames; by default all from `first` to `last`. `lost` describes each of them,
    in any order. If no frame arrived, `frames` is 0 and both are empty. `cause` is one word, such as
    `overload` or `unreadable`; `detail` may add a sentence.
    """

    camera: str
    first: int | None
    last: int | None
    started_at: datetime
    ended_at: datetime
    frames: int
    cause: str
    detail: str | None = None
    numbers: NumberRanges = ()
    lost: tuple[LostFrames, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.numbers and self.first is not None and self.last is not None:
            object.__setattr__(self, "numbers", ((self.first, self.last),))
        if not self.lost:
            lost = tuple(LostFrames(first, last, self.started_at) for first, last in self.numbers)
            object.__setattr__(self, "lost", lost)


@dataclass(frozen=True, slots=True)
class CameraStateChange:
    """A camera's change of state, with the cause if the new state is a failure."""

    camera: str
    state: CameraState
    at: datetime
    cause: str | None = None
    detail: str | None = None
