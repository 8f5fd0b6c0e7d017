"""A frame that is kept for learning: the document of the stream of samples."""

from typing import Annotated, Literal, Self

from pydantic import Field

from monitor.events.event import (
    ID_PATTERN,
    Count,
    Document,
    Event,
    EventFamiliarity,
    EventModel,
    Share,
    Timestamp,
)

SampleReason = Literal["flagged", "near-threshold", "unfamiliar", "random", "shadow-differs"]
"""Why a frame is kept. `flagged`: it has an event; `shadow-differs`: the camera's shadow model has another
verdict; the others are clean, and the first that holds counts."""


class SampleImage(Document):
    """The frame as the camera gave it, lossless: its size in pixels, and the Redis key of the PNG file."""

    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    png_key: str


class SampleShadow(Document):
    """What the shadow model of the camera makes of the frame."""

    score: Share
    threshold: Share
    model: EventModel


class Sample(Document):
    """One frame with what the model made of it."""

    version: Literal[1] = 1
    id: Annotated[
        str,
        Field(
            pattern=ID_PATTERN,
            max_length=200,
            description="the same for the same frame; that of its event, if it has one",
        ),
    ]
    camera: Annotated[str, Field(min_length=1)]
    frame_number: Count
    captured_at: Timestamp
    reason: SampleReason
    score: Annotated[Share, Field(description="the higher, the more like a defect")]
    threshold: Annotated[Share, Field(description="scores from here on are flagged")]
    familiarity: EventFamiliarity | None = None
    model: EventModel
    image: SampleImage
    incident: Annotated[str | None, Field(description="incident of a flagged frame")] = None
    source_name: Annotated[str | None, Field(description="file that the frame comes from")] = None
    shadow: Annotated[
        SampleShadow | None, Field(description="the other verdict of a sample whose reason is shadow-differs")
    ] = None

    def to_json(self) -> str:
        """The document as one line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a document; raises pydantic's ValidationError, a ValueError, if it is not one of version 1."""
        return cls.model_validate_json(text)

    @classmethod
    def of_event(cls, event: Event, png_key: str) -> Self:
        """Return the sample of a flagged frame."""
        return cls(
            id=event.id,
            camera=event.camera,
            frame_number=event.frame_number,
            captured_at=event.captured_at,
            reason="flagged",
            score=event.score,
            threshold=event.threshold,
            familiarity=event.familiarity,
            model=event.model,
            image=SampleImage(width=event.image.width, height=event.image.height, png_key=png_key),
            incident=None if event.incident is None else event.incident.id,
            source_name=event.source_name,
        )
