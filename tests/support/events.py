"""Findings to publish, and servers that can be stopped, paused and locked."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from monitor.delivery.sinks.base import Sink
from monitor.delivery.storage import OutboxEntry, Position
from monitor.events.event import Event, build_event
from monitor.events.messages import EventMessage, NoticeMessage, OutboxMessage
from monitor.events.verdicts import FrameVerdict, VerdictBatch
from monitor.records import Box, Explanation, Finding, Frame, Region, Verdict

BEGIN = datetime(2026, 11, 23, 4, 5, 6, 789, tzinfo=UTC)


def make_finding(number: int = 0, camera: str = "top", regions: bool = True) -> Finding:
    frame = Frame(
        camera,
        number,
        BEGIN + timedelta(milliseconds=40 * number),
        float(number),
        np.zeros((48, 64, 3), np.uint8),
        (Box(0, 0, 64, 48),),
        np.zeros((1, 8, 8, 3), np.uint8),
    )
    region = Region(
        box=Box(3, 4, 13, 24),
        centroid=(8.123456, 14.5),
        peak_at=(7.0, 12.0),
        peak=0.987654,
        area=150,
        contour=((3, 4), (12, 4), (12, 23), (3, 23)),
    )
    return Finding(
        frame,
        Verdict("defect", 0.91234567, 0.5),
        Explanation("faster-score-cam", 10, "full"),
        (region,) if regions else (),
        {"capture": 0.0012345678, "classify": 0.016},
    )


def make_event(number: int = 0, camera: str = "top") -> Event:
    return build_event(make_finding(number, camera), model_name="dagm-class1", model_sha256="a" * 64)


def make_verdicts(
    first: int = 0,
    frames: int = 3,
    run: str = "a1",
    camera: str = "top",
    end: Literal["stopped"] | None = None,
) -> NoticeMessage:
    """A batch of the verdict stream: clean frames."""
    verdicts = tuple(
        FrameVerdict(
            frame_number=number,
            captured_at=BEGIN + timedelta(milliseconds=40 * number),
            outcome="clean",
            score=0.1,
        )
        for number in range(first, first + frames)
    )
    return VerdictBatch(
        daemon="line1",
        run=run,
        camera=camera,
        first=first,
        next=first + frames,
        end=end,
        verdicts=verdicts,
    ).notice(BEGIN)


def make_jpeg(shade: int = 128, size: int = 64) -> bytes:
    done, data = cv2.imencode(".jpg", np.full((size, size, 3), shade, np.uint8))
    assert done
    return bytes(data)


def make_parcel(number: int = 0, camera: str = "top", raw: bool = False) -> EventMessage:
    return EventMessage.of(make_event(number, camera), make_jpeg(number % 256), make_jpeg(9) if raw else None)


def published(message: EventMessage, prefix: str = "defects") -> str:
    """The document as it is in Redis: with the keys of the images that went with it."""
    event = Event.from_json(message.document)
    keys = {
        "frame_key": message.annotated_jpeg and f"{prefix}:frame:{message.id}",
        "raw_key": message.raw_jpeg and f"{prefix}:raw:{message.id}",
    }
    return event.model_copy(update={"image": event.image.model_copy(update=keys)}).to_json()


_POSITIONS: "WeakKeyDictionary[Sink, dict[str, Position]]" = WeakKeyDictionary()


def deliver(sink: Sink, messages: Sequence[OutboxMessage], run: str | None = None) -> int:
    """Deliver as the outbox does: each message id has one position in the run, which is that of the sink."""
    positions = _POSITIONS.setdefault(sink, {})
    run = run or f"run-{id(positions)}"
    batch = [
        OutboxEntry(positions.setdefault(message.id, Position(run, len(positions))), message)
        for message in messages
    ]
    return sink.deliver(batch).delivered


class ImageCounts:
    """Counts what a Redis sink reports of images."""

    def __init__(self) -> None:
        self.stored = self.removed = 0
        self.stripped: Counter[str] = Counter()

    def picture_bytes(self, stored: int) -> None:
        self.stored = stored

    def pictures_removed(self, count: int) -> None:
        self.removed += count

    def images_stripped(self, cause: str, count: int) -> None:
        self.stripped[cause] += count


_TEMPLATE = make_event()


_PICTURE = random.Random(1).randbytes(20_000)


def make_message(number: int, at: datetime | None = None, camera: str = "top") -> EventMessage:
    """An event with a picture of 20 kB that no other event has."""
    at = at or BEGIN + timedelta(milliseconds=number)
    identity = f"{camera}-{at:%Y%m%dT%H%M%S%f}-{number}"
    event = _TEMPLATE.model_copy(
        update={"id": identity, "camera": camera, "frame_number": number, "captured_at": at}
    )
    return EventMessage.of(event, _PICTURE + identity.encode())


@dataclass(frozen=True, slots=True)
class DeliveryTally:
    """What became of events: each found one must have come once."""

    found: int
    once: int
    lost: int
    doubled: int
    pictures: int
    ordered: bool

    @property
    def flawless(self) -> bool:
        return (self.found, 0, 0, self.found, True) == (
            self.once,
            self.lost,
            self.doubled,
            self.pictures,
            self.ordered,
        )


def outcome(client: Any, found: Iterable[str], prefix: str = "defects") -> DeliveryTally:
    """Compare what was found with what lies in Redis."""
    found = list(found)
    stored = [fields[b"id"].decode() for _, fields in client.xrange(f"{prefix}:events")]
    counts = Counter(stored)
    pictures = sum(
        client.get(f"{prefix}:frame:{identity}") == _PICTURE + identity.encode() for identity in found
    )
    wanted = set(found)
    return DeliveryTally(
        found=len(found),
        once=sum(counts[identity] == 1 for identity in found),
        lost=sum(counts[identity] == 0 for identity in found),
        doubled=sum(count > 1 for count in counts.values()),
        pictures=pictures,
        ordered=[identity for identity in stored if identity in wanted] == found,
    )
