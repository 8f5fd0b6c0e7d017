"""A known frame that is shown to a running daemon as a test, and what the daemon answers."""

from typing import Annotated, Literal, Self

from pydantic import Field

from monitor.events.event import Document, EventModel, EventRegion, Share, Timestamp


class ChallengeRequest(Document):
    """A frame to inspect as those of `camera` are; its image file follows."""

    version: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="names the key of the answer")]
    camera: Annotated[str, Field(min_length=1)]
    file: Annotated[str, Field(description="name of the image file, for messages")]

    def to_bytes(self, image: bytes) -> bytes:
        """Return the request with its image file."""
        return self.model_dump_json().encode() + b"\n" + image

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[Self, bytes]:
        """Return a request and its image file. Raises ValueError for anything else."""
        document, _, image = data.partition(b"\n")
        return cls.model_validate_json(document), image


class ChallengeAnswer(Document):
    """What the daemon makes of the frame. The fields from `width` on are known where it was inspected."""

    version: Literal[1] = 1
    test: Annotated[Literal[True], Field(description="no frame of the production")] = True
    camera: Annotated[str, Field(min_length=1)]
    daemon: str
    inspected_at: Timestamp
    outcome: Literal["defect", "clean", "not-inspected"]
    reason: Annotated[str | None, Field(description="why it was not inspected, or not localised")] = None
    width: Annotated[int | None, Field(ge=1, description="of the frame, in pixels")] = None
    height: Annotated[int | None, Field(ge=1)] = None
    label: str | None = None
    score: Share | None = None
    threshold: Share | None = None
    model: EventModel | None = None
    recipe: str | None = None
    method: Annotated[str | None, Field(description="how the regions were found")] = None
    regions: tuple[EventRegion, ...] = ()

    def to_json(self) -> str:
        """The document as one line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a document; raises pydantic's ValidationError, a ValueError, if it is not one of version 1."""
        return cls.model_validate_json(text)
