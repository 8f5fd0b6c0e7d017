"""What waits in the outbox: an event with its pictures, or a notice for another stream."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from monitor.events.coverage import (
    Dropped,
    NameConflict,
    conflict_entry,
    dropped_entry,
    gap_entry,
    state_entry,
)
from monitor.events.event import Event, safe_name
from monitor.records import CameraStateChange, Gap

_OVERHEAD = 200  # bytes of keys and bookkeeping, so that many small things count too


@dataclass(frozen=True, slots=True)
class EventMessage:
    """An event's document with its pictures as JPEG, handed over `ready_after` seconds after its capture."""

    id: str
    camera: str
    document: str
    annotated_jpeg: bytes | None
    raw_jpeg: bytes | None = None
    processing_seconds: float = 0.0

    @classmethod
    def of(
        cls, event: Event, annotated: bytes | None, raw: bytes | None = None, *, ready_after: float = 0.0
    ) -> "EventMessage":
        """Pack an event; its document names a picture's key only if the picture is in the parcel."""
        image = event.image.model_copy(
            update={
                "frame_key": event.image.frame_key if annotated is not None else None,
                "raw_key": event.image.raw_key if raw is not None else None,
            }
        )
        document = event.model_copy(update={"image": image}).to_json()
        return cls(event.id, event.camera, document, annotated, raw, ready_after)

    @property
    def size(self) -> int:
        """Bytes it takes while it waits."""
        return self.image_bytes + len(self.document) + _OVERHEAD

    @property
    def image_bytes(self) -> int:
        """Bytes of its pictures."""
        return len(self.annotated_jpeg or b"") + len(self.raw_jpeg or b"")

    def without_images(self) -> "EventMessage":
        """The same event alone, its document saying so."""
        return EventMessage.of(Event.from_json(self.document), None, ready_after=self.processing_seconds)


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """An entry of the coverage stream or of that of incidents. The id is the same for the same occurrence."""

    id: str
    camera: str
    fields: tuple[tuple[str, str], ...]
    stream: Literal["coverage", "incidents"] = "coverage"

    @classmethod
    def of(cls, occurrence: Gap | CameraStateChange | Dropped | NameConflict) -> "NoticeMessage":
        """Pack a statement about coverage."""
        match occurrence:
            case Gap():
                fields = gap_entry(occurrence)
            case CameraStateChange():
                fields = state_entry(occurrence)
            case Dropped():
                fields = dropped_entry(occurrence)
            case NameConflict():
                fields = conflict_entry(occurrence)
        digest = hashlib.blake2s(repr(sorted(fields.items())).encode(), digest_size=8).hexdigest()
        return cls(
            f"{fields['kind']}-{safe_name(occurrence.camera)}-{digest}",
            occurrence.camera,
            tuple(fields.items()),
        )

    @property
    def size(self) -> int:
        """Bytes it takes while it waits."""
        return sum(len(name) + len(value) for name, value in self.fields) + _OVERHEAD

    @property
    def image_bytes(self) -> int:
        """None: a notice has no picture."""
        return 0


OutboxMessage = EventMessage | NoticeMessage
"""Whatever goes out."""
