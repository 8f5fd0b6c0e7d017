"""The messages between a capture process and the daemon, one per packet.

Times are microseconds of Unix time (`…_us`) and seconds of the monotonic clock, which all processes of a
machine share.
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from monitor.records import CaptureClock

LostReason = Literal[
    "unreadable", "damaged", "unusable", "misconfigured", "frozen", "overload", "lost-upstream"
]
"""Why a frame is not inspected: it cannot be decoded, was decoded from incomplete data, shows
nothing, does not fit the settings, is the
same as the ones before it, found no free slot, or never arrived."""


@dataclass(frozen=True, slots=True)
class SourceOpened:
    """The source is open. `interval`: seconds between frames, where it is known."""

    live: bool
    interval: float | None


@dataclass(frozen=True, slots=True)
class SourceIdle:
    """The source is observed and has nothing new; sent again and again until it has."""


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """The source cannot be opened or read; the process tries again, unless `SourceEnded` follows."""

    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class BufferMapped:
    """From now on frames lie in the memory whose descriptor comes with this message."""

    ring: int
    slots: int
    size: int


@dataclass(frozen=True, slots=True)
class FrameReady:
    """A frame lies in `slot`: its pixels (height, width, 3), and at `inputs_offset` one network input a box.

    `boxes` are (left, top, right, bottom); `input_size` is (height, width); reading took `took` seconds.
    """

    slot: int
    height: int
    width: int
    boxes: list[list[int]]
    inputs_offset: int
    input_size: list[int]
    captured_us: int
    monotonic: float
    took: float
    source_name: str | None = None
    receipt: int | None = None
    captured_by: CaptureClock = "arrival"


@dataclass(frozen=True, slots=True)
class FrameLost:
    """`frames` frames that are not inspected. `since_us`: when the cause began, if before the frame.

    For `lost-upstream`, `frames` is an estimate, lost between `since_us` and `captured_us`. After an
    `ImageRequested`, the pixels of the frame (height, width, 3) lie in `slot`, where it has any.
    """

    cause: LostReason
    why: str | None
    captured_us: int
    monotonic: float
    took: float
    since_us: int | None = None
    frames: int = 1
    source_name: str | None = None
    slot: int | None = None
    height: int = 0
    width: int = 0


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """No more frames will come."""


@dataclass(frozen=True, slots=True)
class FrameInspected:
    """To the capture process: the daemon is done with the frame that had this `receipt`."""

    receipt: int


@dataclass(frozen=True, slots=True)
class SlotReleased:
    """To the capture process: `slot` of memory number `ring` can be written again."""

    ring: int
    slot: int


@dataclass(frozen=True, slots=True)
class ImageRequested:
    """To the capture process: send the pixels of the next frame that is not inspected, too."""


@dataclass(frozen=True, slots=True)
class FrameTaken:
    """To the capture process: the frame in `slot` of memory number `ring` is no longer queued."""

    ring: int
    slot: int


WorkerMessage = (
    SourceOpened
    | SourceIdle
    | SourceFailed
    | BufferMapped
    | FrameReady
    | FrameLost
    | SourceEnded
    | SlotReleased
    | FrameInspected
    | ImageRequested
    | FrameTaken
)


_KINDS: dict[str, type[WorkerMessage]] = {
    kind.__name__: kind
    for kind in (
        SourceOpened,
        SourceIdle,
        SourceFailed,
        BufferMapped,
        FrameReady,
        FrameLost,
        SourceEnded,
        SlotReleased,
        FrameInspected,
        ImageRequested,
        FrameTaken,
    )
}


MAX_MESSAGE_BYTES = 65_536
"""Maximum bytes of a message; 256 boxes take about 6,000."""


def encode(message: WorkerMessage) -> bytes:
    """Encode a message as one packet; a detail that is too long for it is cut."""
    fields = asdict(message)
    for name in ("detail", "why"):
        if isinstance(fields.get(name), str):
            fields[name] = fields[name][:2000]
    return json.dumps([type(message).__name__, fields]).encode()


def decode(packet: bytes) -> WorkerMessage:
    """Decode a packet. Raises ValueError for anything that is not a message."""
    try:
        kind, fields = json.loads(packet)
        return _KINDS[kind](**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("no message of a capture process") from error
