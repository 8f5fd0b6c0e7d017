"""What travels from stage to stage: frozen records of plain values and arrays.

No stage adds to a record; each makes the next one from it. Times are of two kinds: `captured_at`
is wall time for people and subscribers, every duration is a difference of monotonic times.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""A picture: (height, width, 3) uint8, channels blue, green, red."""

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
"""Why a source cannot be opened or read on; `fault` is one of this program."""

Stage = Literal["capture", "queue", "classify", "wait", "explain", "locate", "annotate", "publish"]
"""What a frame goes through. From `queue`, which begins when the frame is captured, to `publish`, which ends
when the event is acknowledged, each stage begins when the one before it ends."""

CameraState = Literal["starting", "up", "stalled", "frozen", "misconfigured", "down", "ended"]
"""What a camera is doing: `stalled` is silent, `frozen` repeats one frame, `down` cannot be read, and the
frames of one that is `misconfigured` do not fit `expected_size`, `roi` or `tiles`."""

CaptureClock = Literal["camera", "arrival"]
"""By which clock a time of capture is known: the camera's stamps, or the arrival of the frame."""

FrameOutcome = Literal["clean", "defect", "unusable"]
"""What became of a frame that was taken up. Those that were not are `dropped`."""

ExplanationOutcome = Literal["full", "reduced", "skipped"]
"""How a flagged frame was explained: all maps scored, fewer or none scored, or without heat."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of one camera.

    `number` counts from 0 the frames that the camera delivered since the daemon started, lost ones
    included. `captured_at` is UTC, when the frame was captured, as `captured_by` knows it. `monotonic` is the
    same moment on the monotonic clock, in seconds. `tile_boxes` are the parts that the network is shown,
    `tile_inputs` (boxes, h, w, 3) uint8 those parts at the network's size. `source_waits`: the source, such
    as a file, waits until its frames are processed, so that none is ever late. `source_name` is the name of
    the file that the frame comes from; of a video with the position. `receipt` is only held: when the last
    copy of the frame is gone, its verdict reached and its event stored, the capture process records the file
    as inspected. The arrays may lie in memory shared with the capture process, read-only, and stay valid as
    long as they are referred to.
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
    """A box in pixels: left and top included, right and bottom not."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """Pixels inside."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Region:
    """One connected place of heat, in pixels of the camera's own frame.

    `centroid` and `peak_at` are (x, y), pixel centres at whole numbers. `peak` is the highest heat
    inside, 0..1. `area` counts pixels above the threshold. `contour` runs once around, (x, y) each.
    """

    box: Box
    centroid: tuple[float, float]
    peak_at: tuple[float, float]
    peak: float
    area: int
    contour: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the network says of a frame: `score` is the probability of a defect, 0..1 (tiles: the highest)."""

    label: str
    score: float
    threshold: float

    @property
    def defective(self) -> bool:
        """At the threshold counts as a defect: a missed defect costs more than a second look."""
        return self.score >= self.threshold


@dataclass(frozen=True, slots=True, eq=False)
class TileHeatmap:
    """Heat of one network input, with the part of the frame that input showed.

    `heatmap` is (rows, columns); `box` is the part of the frame, in the frame's pixels. `raw_peak` is the
    heat's highest value before it was scaled to one, `score` the input's probability of a defect, 0..1.
    """

    heatmap: Heatmap
    box: Box
    raw_peak: float
    score: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where the evidence lies. Without patches, `reason` says why the frame is not localised."""

    method: str
    maps_used: int
    outcome: ExplanationOutcome
    tile_heatmaps: tuple[TileHeatmap, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """A flagged frame with all that was found out about it; `latency` holds seconds by stage."""

    frame: Frame
    verdict: Verdict
    explanation: Explanation
    regions: tuple[Region, ...]
    latency: Mapping[Stage, float] = field(default_factory=dict)


NumberRanges = tuple[tuple[int, int], ...]
"""Frame numbers as ranges (first, last), both included, ascending and disjoint."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Frames of one camera that were not inspected, and when.

    `numbers` are exactly these frames; by default all from `first` to `last`. Where no frame came, `frames`
    is 0 and there are no numbers. `cause` is one word, such as `overload` or `unreadable`; `detail` may add a
    sentence.
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

    def __post_init__(self) -> None:
        if not self.numbers and self.first is not None and self.last is not None:
            object.__setattr__(self, "numbers", ((self.first, self.last),))


@dataclass(frozen=True, slots=True)
class CameraStateChange:
    """A camera's change of state, with the cause where it is one for the worse."""

    camera: str
    state: CameraState
    at: datetime
    cause: str | None = None
    detail: str | None = None
