"""What a capture process and the daemon say to each other, one message a packet.

Times are microseconds of Unix time (`at`) and seconds of the monotonic clock, which is one for all processes
of a machine.
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from monitor.records import CaptureClock

LostReason = Literal["unreadable", "unusable", "misconfigured", "frozen", "overload"]
"""Why a picture is not judged: it cannot be decoded, shows nothing, stands still, or found no room."""


@dataclass(frozen=True, slots=True)
class SourceOpened:
    """The source is open. `interval`: seconds between pictures, where it is known."""

    live: bool
    interval: float | None


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """The source cannot be opened or read; it is tried again, unless `Ended` follows."""

    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class BufferMapped:
    """From now on pictures lie in the memory whose descriptor comes with this message."""

    ring: int
    slots: int
    size: int


@dataclass(frozen=True, slots=True)
class FrameReady:
    """A picture lies in `slot`: its pixels (height, width, 3), then at `inputs_at` one network input a box.

    `boxes` are (left, top, right, bottom); `input_size` (height, width); `took` seconds went into reading.
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
    captured_by: CaptureClock = "arrival"


@dataclass(frozen=True, slots=True)
class FrameLost:
    """A picture came that is not judged. `since`: when the cause began, for one that builds up (`frozen`)."""

    cause: LostReason
    why: str | None
    captured_us: int
    monotonic: float
    took: float
    since_us: int | None = None


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """Nothing more will come."""


@dataclass(frozen=True, slots=True)
class SlotReleased:
    """To the capture process: `slot` of memory number `ring` can be written again."""

    ring: int
    slot: int


WorkerMessage = (
    SourceOpened | SourceFailed | BufferMapped | FrameReady | FrameLost | SourceEnded | SlotReleased
)


_KINDS: dict[str, type[WorkerMessage]] = {
    kind.__name__: kind
    for kind in (SourceOpened, SourceFailed, BufferMapped, FrameReady, FrameLost, SourceEnded, SlotReleased)
}


MAX_MESSAGE_BYTES = 65_536
"""Bytes that a message may have; 256 boxes take about 6,000."""


def encode(message: WorkerMessage) -> bytes:
    """As one packet; a detail too long for one is cut."""
    fields = asdict(message)
    for name in ("detail", "why"):
        if isinstance(fields.get(name), str):
            fields[name] = fields[name][:2000]
    return json.dumps([type(message).__name__, fields]).encode()


def decode(packet: bytes) -> WorkerMessage:
    """The message of a packet. Raises ValueError for anything else."""
    try:
        kind, fields = json.loads(packet)
        return _KINDS[kind](**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("this is no message of a capture process") from error
