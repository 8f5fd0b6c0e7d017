"""Label a frame that is still in Redis: find it, answer, undo."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

from pydantic import ValidationError

from monitor.errors import MonitorError, UsageError
from monitor.events.event import Event
from monitor.events.labels import Answer, Label, LabelBox, LabelSubject, standing_labels
from monitor.events.samples import Sample
from monitor.redis_streams.history import NEWEST, HistoryEntry, StreamHistory

_PAGE = 500


class FrameMissingError(MonitorError):
    """Redis has no event and no sample of this id, or no longer."""

    def __init__(self, frame_id: str) -> None:
        super().__init__(
            f"no event or sample {frame_id!r} in Redis: it was never there, or has been removed since; "
            "nothing was labelled"
        )


class LabelTarget(NamedTuple):
    """A frame to label: its subject, camera, size in pixels and the model that classified it."""

    subject: LabelSubject
    camera: str
    width: int
    height: int
    model_sha256: str

    @classmethod
    def of(cls, document: Event | Sample) -> "LabelTarget":
        """Return the frame of an event or a sample."""
        kind = "event" if isinstance(document, Event) else "sample"
        image = document.image
        subject = LabelSubject(kind=kind, id=document.id)  # type: ignore[arg-type]  # one of its two values
        return cls(subject, document.camera, image.width, image.height, document.model.sha256)


def find_target(history: StreamHistory, frame_id: str) -> LabelTarget:
    """Return the frame of an event or a sample. Raises FrameMissingError."""
    for stream, read in ((history.keys.events, read_event), (history.keys.samples, read_sample)):
        before = NEWEST
        while entries := history.newest_first(stream, before, count=_PAGE):
            for entry in entries:
                if entry.fields.get("id") == frame_id and (found := read(entry)) is not None:
                    return LabelTarget.of(found)
            before = entries[-1].id
    raise FrameMissingError(frame_id)


def read_event(entry: HistoryEntry) -> Event | None:
    """Return the event of an entry; None for an entry that holds none of a version known here."""
    try:
        return Event.from_json(entry.fields["event"])
    except (KeyError, ValueError):
        return None


def read_sample(entry: HistoryEntry) -> Sample | None:
    """Return the sample of an entry; None for an entry that holds none of a version known here."""
    try:
        return Sample.from_json(entry.fields["sample"])
    except (KeyError, ValueError):
        return None


def read_labels(entries: Iterable[HistoryEntry]) -> list[Label]:
    """Return the labels of entries; those that hold none of a version known here are left out."""
    labels = []
    for entry in entries:
        try:
            labels.append(Label.from_json(entry.fields["label"]))
        except (KeyError, ValueError):
            continue
    return labels


def build_label(
    target: LabelTarget,
    answer: Answer,
    author: str,
    *,
    defect_kind: str | None = None,
    boxes: Sequence[tuple[int, int, int, int]] = (),
    mask_png: str | None = None,
) -> Label:
    """Return a label of now; `boxes` are x, y, width, height. Raises UsageError where it is none."""
    try:
        label = Label(
            id=str(uuid4()),
            subject=target.subject,
            camera=target.camera,
            answer=answer,
            defect_kind=defect_kind,
            boxes=tuple(LabelBox(x=x, y=y, width=width, height=height) for x, y, width, height in boxes),
            mask_png=mask_png,
            author=author,
            labelled_at=datetime.now(UTC),
            model_sha256=target.model_sha256,
        )
        label.check_fits(target.width, target.height)
    except ValidationError as error:
        raise UsageError(_describe(error)) from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    return label


def build_withdrawal(labels: Iterable[Label], frame_id: str, author: str) -> Label | None:
    """Return what withdraws the last answer of `author` about a frame; None if there is none."""
    for label in standing_labels(labels).get(frame_id, ()):
        if label.author == author:
            return Label(
                id=str(uuid4()),
                subject=label.subject,
                camera=label.camera,
                author=author,
                labelled_at=max(datetime.now(UTC), label.labelled_at),
                withdraws=label.id,
            )
    return None


_PLACES = {
    "defect_kind": "the kind",
    "author": "the author's name",
    "mask_png": "the mask",
    **dict.fromkeys(("boxes", "x", "y", "width", "height"), "the box"),
}
"""How a sentence names a field of a label or of its boxes."""


def _describe(error: ValidationError) -> str:
    """Return one sentence on what is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    reason = str(first["ctx"]["error"]) if "error" in first.get("ctx", {}) else first["msg"]
    place = _PLACES.get(str(first["loc"][0])) if first["loc"] else None
    if first["type"] == "string_pattern_mismatch":
        reason = (
            "has 1 to 64 characters, no line break, no / or \\, and begins with neither a dot nor a blank"
        )
    return f"{place}: {reason}" if place and not reason.startswith("the ") else reason
