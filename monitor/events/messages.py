"""What the outbox carries: an event with its images, or a notice for another stream."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from monitor.events.coverage import (
    Dropped,
    NameConflict,
    RecipeChange,
    conflict_entry,
    dropped_entry,
    gap_entry,
    recipe_entry,
    state_entry,
)
from monitor.events.event import Event, printable, safe_name
from monitor.records import CameraStateChange, Gap, NumberRanges

_OVERHEAD = 200  # bytes of keys and bookkeeping, so that many small messages count too


@dataclass(frozen=True, slots=True)
class EventMessage:
    """An event's document with its images as JPEG, complete `processing_seconds` after the capture.

    The document names no key of any sink: each sink adds its own.
    """

    id: str
    camera: str
    document: str
    captured_at: datetime
    annotated_jpeg: bytes | None
    raw_jpeg: bytes | None = None
    processing_seconds: float = 0.0
    frame_number: int | None = None

    @classmethod
    def of(
        cls,
        event: Event,
        annotated_jpeg: bytes | None,
        raw_jpeg: bytes | None = None,
        *,
        processing_seconds: float = 0.0,
    ) -> "EventMessage":
        """Pack an event with its images."""
        return cls(
            event.id,
            event.camera,
            event.to_json(),
            event.captured_at,
            annotated_jpeg,
            raw_jpeg,
            processing_seconds,
            event.frame_number,
        )

    @property
    def started_at(self) -> datetime:
        """Time of capture."""
        return self.captured_at

    @property
    def ended_at(self) -> datetime:
        """Time of capture."""
        return self.captured_at

    @property
    def numbers(self) -> NumberRanges:
        """The number of its frame."""
        return () if self.frame_number is None else ((self.frame_number, self.frame_number),)

    @property
    def size(self) -> int:
        """Bytes it takes in the outbox."""
        return self.image_bytes + len(self.document) + _OVERHEAD

    @property
    def image_bytes(self) -> int:
        """Bytes of its images."""
        return len(self.annotated_jpeg or b"") + len(self.raw_jpeg or b"")

    def without_images(self) -> "EventMessage":
        """Return the same event without its images."""
        return replace(self, annotated_jpeg=None, raw_jpeg=None)


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """An entry of a stream other than that of events, about the time from `started_at` to `ended_at`.

    The same occurrence always has the same id. `numbers` are the frames of a batch of verdicts.
    """

    id: str
    camera: str
    fields: tuple[tuple[str, str], ...]
    started_at: datetime
    ended_at: datetime
    stream: Literal["coverage", "incidents", "verdicts"] = "coverage"
    numbers: NumberRanges = ()

    @classmethod
    def of(
        cls, occurrence: Gap | CameraStateChange | Dropped | NameConflict | RecipeChange
    ) -> "NoticeMessage":
        """Pack a statement about coverage."""
        match occurrence:
            case Gap():
                fields, span = gap_entry(occurrence), (occurrence.started_at, occurrence.ended_at)
            case CameraStateChange():
                fields, span = state_entry(occurrence), (occurrence.at, occurrence.at)
            case Dropped():
                fields, span = dropped_entry(occurrence), (occurrence.started_at, occurrence.ended_at)
            case NameConflict():
                fields, span = conflict_entry(occurrence), (occurrence.at, occurrence.at)
            case RecipeChange():
                fields, span = recipe_entry(occurrence), (occurrence.at, occurrence.at)
        fields = {name: printable(value) for name, value in fields.items()}
        digest = hashlib.blake2s(repr(sorted(fields.items())).encode(), digest_size=8).hexdigest()
        return cls(
            f"{fields['kind']}-{safe_name(occurrence.camera)}-{digest}",
            occurrence.camera,
            tuple(fields.items()),
            *span,
        )

    @property
    def size(self) -> int:
        """Bytes it takes in the outbox."""
        return sum(len(name) + len(value) for name, value in self.fields) + _OVERHEAD

    @property
    def image_bytes(self) -> int:
        """None: a notice has no image."""
        return 0

    def without_images(self) -> "NoticeMessage":
        """Return itself: a notice has no image."""
        return self


OutboxMessage = EventMessage | NoticeMessage
"""Whatever the outbox carries."""
