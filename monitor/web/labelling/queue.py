"""In which order frames are shown to people: those first whose answer teaches most. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from monitor.events.event import Event
from monitor.events.samples import Sample, SampleReason
from monitor.redis_streams.labelling import LabelTarget


@dataclass(frozen=True, slots=True)
class LabelFrame:
    """A frame that can be labelled; `entry` is the id of its event's entry, None without an event.

    `has_sample`: it is kept for learning, so that a dataset can hold it.
    """

    target: LabelTarget
    number: int
    captured_at: datetime
    score: float
    threshold: float
    is_unfamiliar: bool
    incident: str | None
    reason: SampleReason
    entry: str | None
    has_sample: bool = False

    @property
    def id(self) -> str:
        """The id of its event and its sample."""
        return self.target.subject.id

    @classmethod
    def of_event(cls, event: Event, entry: str) -> "LabelFrame":
        """Return the frame of an event."""
        return cls(
            LabelTarget.of(event),
            event.frame_number,
            event.captured_at,
            event.score,
            event.threshold,
            event.familiarity is not None and event.familiarity.unfamiliar,
            None if event.incident is None else event.incident.id,
            "flagged",
            entry,
        )

    @classmethod
    def of_sample(cls, sample: Sample) -> "LabelFrame":
        """Return the frame of a sample."""
        return cls(
            LabelTarget.of(sample),
            sample.frame_number,
            sample.captured_at,
            sample.score,
            sample.threshold,
            sample.familiarity is not None and sample.familiarity.unfamiliar,
            sample.incident,
            sample.reason,
            None,
            has_sample=True,
        )


def doubt(frame: LabelFrame) -> float:
    """Return how near the score is to the threshold: 1 at it, 0 at the end of the scale."""
    side = frame.threshold if frame.score < frame.threshold else 1 - frame.threshold
    return 1 - abs(frame.score - frame.threshold) / side if side else 1.0


def order_by_information(frames: Iterable[LabelFrame]) -> list[LabelFrame]:
    """Return frames in the order of what an answer teaches.

    Frames that are kept for learning come first; among them unfamiliar ones and those on which two models
    differ, whatever their scores, then those near the threshold, the newest first where that is equal. Of an
    incident, whose frames show the same defect, one frame comes in this order and the others at the end.
    """

    def rank(frame: LabelFrame) -> tuple[bool, float, float]:
        is_open = frame.is_unfamiliar or frame.reason == "shadow-differs"
        return not frame.has_sample, 0.0 if is_open else 2 - doubt(frame), -frame.captured_at.timestamp()

    ordered = sorted(frames, key=rank)
    seen: set[str] = set()
    firsts: list[LabelFrame] = []
    others: list[LabelFrame] = []
    for frame in ordered:
        (others if frame.incident in seen else firsts).append(frame)
        if frame.incident is not None:
            seen.add(frame.incident)
    return firsts + others
