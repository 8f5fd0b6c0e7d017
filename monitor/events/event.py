"""The event document, version 1: what subscribers learn of one flagged frame.

Within version 1 fields are only ever added, so a reader ignores those it does not know. Numbers are finite.
"""

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from monitor.records import ExplanationOutcome, Finding, Region

_RFC3339 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"


ID_PATTERN = r"^[A-Za-z0-9._~-]+$"
"""Ids are safe inside a Redis key and as a file name."""


def format_timestamp(at: datetime) -> str:
    """An aware time as RFC 3339 in UTC with microseconds: `2026-11-23T04:05:06.000007Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _read_moment(value: object) -> object:
    """Take RFC 3339 and nothing else that pydantic would read as a time, such as numbers."""
    if isinstance(value, str) and re.match(_RFC3339, value):
        return datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value
    raise ValueError("not an RFC 3339 time")


Timestamp = Annotated[
    AwareDatetime,
    BeforeValidator(_read_moment),
    PlainSerializer(format_timestamp, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _RFC3339}),
]


Share = Annotated[float, Field(ge=0, le=1)]


Count = Annotated[int, Field(ge=0)]


Seconds = Annotated[float, Field(ge=0)]


Point = tuple[float, float]


class Document(BaseModel):
    """Frozen, no conversion between types, no NaN or infinity, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class EventModel(Document):
    """The model that classified the frame."""

    name: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class EventImage(Document):
    """The camera's frame in pixels, and the Redis keys of its images; null where none is stored."""

    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    frame_key: str | None = None
    raw_key: str | None = None


class EventRegion(Document):
    """One place of evidence, in pixels of the camera's own frame; points are (x, y)."""

    x: Annotated[int, Field(ge=0, description="left edge, included")]
    y: Annotated[int, Field(ge=0, description="top edge, included")]
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    centroid: Point
    peak_at: Point
    peak: Annotated[Share, Field(description="highest heat inside")]
    area: Annotated[Count, Field(description="pixels of heat above the threshold")]
    contour: tuple[tuple[int, int], ...]


class EventExplanation(Document):
    """How the places were found, or why there are none."""

    method: str
    max_n: Annotated[int, Field(ge=0, description="maps that `method` used; 0: there is no heat")]
    outcome: Annotated[
        ExplanationOutcome | None,
        Field(
            description="`full`: all maps asked for were scored; `reduced`: fewer or none; `skipped`: no heat"
        ),
    ] = None
    localised: bool
    reason: Annotated[str | None, Field(description="why the frame is not localised")] = None


class EventIncident(Document):
    """The defect that several frames of one camera show."""

    id: str
    phase: Literal["start", "update", "end"]


class EventFamiliarity(Document):
    """How far the frame lies from those the network was trained on."""

    distance: Annotated[float, Field(ge=0)]
    limit: Annotated[float, Field(ge=0, description="beyond it a frame is called unfamiliar")]
    unfamiliar: bool


class Event(Document):
    """One flagged frame."""

    version: Literal[1] = 1
    id: Annotated[str, Field(pattern=ID_PATTERN, max_length=200, description="the same for the same frame")]
    camera: Annotated[str, Field(min_length=1)]
    frame_number: Count
    captured_at: Timestamp
    label: str
    score: Annotated[
        Share, Field(description="the higher, the more like a defect; not a calibrated probability")
    ]
    threshold: Annotated[Share, Field(description="scores from here on are flagged")]
    model: EventModel
    image: EventImage
    regions: tuple[EventRegion, ...]
    explanation: EventExplanation
    incident: EventIncident | None = None
    familiarity: EventFamiliarity | None = None
    daemon: Annotated[str | None, Field(description="which daemon found it; the same after its restart")] = (
        None
    )
    source_name: Annotated[
        str | None,
        Field(description="file that the frame comes from, of a video with the position: clip.mp4#t=12.480"),
    ] = None
    captured_by: Annotated[
        Literal["camera", "arrival"] | None,
        Field(description="clock of captured_at: the camera's time stamps, or the arrival of the frame"),
    ] = None
    recipe: Annotated[str | None, Field(description="recipe of the product that was on the line")] = None
    latency: Annotated[dict[str, Seconds], Field(description="seconds by stage")]

    def to_json(self) -> str:
        """The document as one line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a document; raises pydantic's ValidationError, a ValueError, if it is not one of version 1."""
        return cls.model_validate_json(text)


def printable(text: str) -> str:
    """Return the text with bytes that are no UTF-8, as in file names, written as `\\udcNN`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def safe_name(camera: str) -> str:
    """The camera's name fit for a key or a file name, and still one name for one camera.

    A name of letters, digits, `.`, `_`, `-` (64 at most) stays; another is cleaned, with a `~` that no plain
    name has and a digest of the whole name after it.
    """
    if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", camera):
        return camera
    digest = hashlib.blake2s(camera.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', camera)[:48]}~{digest}"


def event_id(camera: str, captured_at: datetime, frame_number: int) -> str:
    """`<camera>-<UTC time to the microsecond>-<frame number>`: the same frame always has the same id.

    Only letters, digits and `._~-`, so it is safe inside a Redis key and as a file name.
    """
    at = re.sub("[-:.]", "", format_timestamp(captured_at))
    return f"{safe_name(camera)}-{at}-{frame_number}"


def build_event(
    finding: Finding,
    *,
    model_name: str,
    model_sha256: str,
    incident: EventIncident | None = None,
    familiarity: EventFamiliarity | None = None,
    daemon: str | None = None,
    recipe: str | None = None,
) -> Event:
    """Build the document of a finding. It names no image key: each sink adds its own.

    Scores and latencies are rounded to 6 digits, heat to 4, points to hundredths of a pixel.
    """
    frame, verdict, heat = finding.frame, finding.verdict, finding.explanation
    identity = event_id(frame.camera, frame.captured_at, frame.number)
    localised = bool(finding.regions)
    reason = None if localised else heat.reason or "no heat above the threshold"
    return Event(
        id=identity,
        camera=frame.camera,
        frame_number=frame.number,
        captured_at=frame.captured_at,
        label=verdict.label,
        score=round(float(verdict.score), 6),
        threshold=round(float(verdict.threshold), 6),
        model=EventModel(name=model_name, sha256=model_sha256),
        image=EventImage(width=int(frame.image.shape[1]), height=int(frame.image.shape[0])),
        regions=tuple(event_region(region) for region in finding.regions),
        explanation=EventExplanation(
            method=heat.method,
            max_n=heat.maps_used,
            outcome=heat.outcome,
            localised=localised,
            reason=reason,
        ),
        incident=incident,
        familiarity=familiarity,
        daemon=daemon,
        source_name=frame.source_name and printable(frame.source_name),
        captured_by=frame.captured_by,
        recipe=recipe,
        latency={stage: round(float(seconds), 6) for stage, seconds in finding.latency.items()},
    )


def event_region(region: Region) -> EventRegion:
    """Return a region as documents have it: points rounded to hundredths of a pixel, heat to 4 digits."""
    return EventRegion(
        x=int(region.box.left),
        y=int(region.box.top),
        width=int(region.box.width),
        height=int(region.box.height),
        centroid=_point(region.centroid),
        peak_at=_point(region.peak_at),
        peak=round(float(region.peak), 4),
        area=int(region.area),
        contour=tuple((int(x), int(y)) for x, y in region.contour),
    )


def _point(point: tuple[float, float]) -> Point:
    return round(float(point[0]), 2), round(float(point[1]), 2)
