"""What waits in the outbox: an event with its pictures, or a notice for another stream."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from monitor.publish.coverage import Clash, Shed, change_fields, clash_fields, gap_fields, shed_fields
from monitor.publish.document import Event, plain_name
from monitor.records import CameraChange, Gap

_OVERHEAD = 200  # bytes of keys and bookkeeping, so that many small things count too


@dataclass(frozen=True, slots=True)
class Parcel:
    """An event's document with its pictures as JPEG, handed over `ready_after` seconds after its capture."""

    id: str
    camera: str
    document: str
    annotated: bytes | None
    raw: bytes | None = None
    ready_after: float = 0.0

    @classmethod
    def of(
        cls, event: Event, annotated: bytes | None, raw: bytes | None = None, *, ready_after: float = 0.0
    ) -> "Parcel":
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
        return self.picture_size + len(self.document) + _OVERHEAD

    @property
    def picture_size(self) -> int:
        """Bytes of its pictures."""
        return len(self.annotated or b"") + len(self.raw or b"")

    def without_pictures(self) -> "Parcel":
        """The same event alone, its document saying so."""
        return Parcel.of(Event.from_json(self.document), None, ready_after=self.ready_after)


@dataclass(frozen=True, slots=True)
class Notice:
    """An entry of the coverage stream or of that of incidents. The id is the same for the same occurrence."""

    id: str
    camera: str
    fields: tuple[tuple[str, str], ...]
    stream: Literal["coverage", "incidents"] = "coverage"

    @classmethod
    def of(cls, happened: Gap | CameraChange | Shed | Clash) -> "Notice":
        """Pack a statement about coverage."""
        match happened:
            case Gap():
                fields = gap_fields(happened)
            case CameraChange():
                fields = change_fields(happened)
            case Shed():
                fields = shed_fields(happened)
            case Clash():
                fields = clash_fields(happened)
        digest = hashlib.blake2s(repr(sorted(fields.items())).encode(), digest_size=8).hexdigest()
        return cls(
            f"{fields['kind']}-{plain_name(happened.camera)}-{digest}", happened.camera, tuple(fields.items())
        )

    @property
    def size(self) -> int:
        """Bytes it takes while it waits."""
        return sum(len(name) + len(value) for name, value in self.fields) + _OVERHEAD

    @property
    def picture_size(self) -> int:
        """None: a notice has no picture."""
        return 0


Item = Parcel | Notice
"""Whatever goes out."""
