"""What the stages of the pipeline need of others, and what they pass on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from monitor.inference.handle import Evidence, ModelHandle, ModelSpec
from monitor.models.novelty import NoveltyScore
from monitor.records import (
    Box,
    ExplanationOutcome,
    Frame,
    FrameOutcome,
    Gap,
    Image,
    LostFrames,
    Stage,
    Verdict,
)

OnGap = Callable[[Gap], None]
"""Reports frames that were not inspected."""

OnVerdict = Callable[[Frame, Verdict], None]
"""Receives the verdict on a frame. It must not block."""

OnClean = Callable[[Frame, Verdict, NoveltyScore | None, ModelSpec], None]
"""Receives a frame below the threshold of its model, with its novelty. It must not block."""


def ignore(*_: object) -> None:
    """Do nothing: the default of a callback."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassifiedFrame:
    """A frame with its `verdict` and `novelty`, by the model of `spec`."""

    frame: Frame
    verdict: Verdict
    novelty: NoveltyScore | None
    spec: ModelSpec


OnShadowed = Callable[[ModelHandle, ClassifiedFrame], None]
"""Receives a frame that the shadow model of its camera may classify, too. It must not block."""


class PipelineObserver(Protocol):
    """Counts frames and times stages; every call is cheap and never fails. Times are in seconds."""

    def on_stage(self, camera: str, stage: Stage, seconds: float) -> None:
        """Record that a frame of `camera` spent `seconds` in `stage`."""

    def on_verdict(self, camera: str, score: float, seconds: float) -> None:
        """Record a verdict: the defect score, 0..1, and `seconds` from capture to verdict."""

    def on_late_verdict(self, camera: str) -> None:
        """Count a verdict that took longer than the camera's frame period."""

    def on_outcome(self, camera: str, outcome: FrameOutcome) -> None:
        """Count a frame by its outcome."""

    def on_explanation(self, camera: str, outcome: ExplanationOutcome) -> None:
        """Count a flagged frame by the outcome of its explanation."""

    def on_novelty(self, camera: str, distance: float, limit: float) -> None:
        """Record the distance of a frame from the training data; beyond `limit` it is unfamiliar."""


class SilentObserver:
    """A `PipelineObserver` that counts nothing: for frames that are no production."""

    on_stage = on_verdict = on_late_verdict = on_outcome = on_explanation = on_novelty = staticmethod(ignore)


class FrameProvider(Protocol):
    """The part of a camera that the inference stage needs."""

    name: str

    @property
    def source_waits(self) -> bool:
        """Whether the source waits while frames are queued, so that none is lost."""

    def take(self, limit: int) -> list[Frame]:
        """Return at most `limit` queued frames, oldest first, at once."""

    @property
    def ended(self) -> bool:
        """Whether no further frame can be taken."""


@dataclass(frozen=True, slots=True, eq=False)
class FlaggedTile:
    """A defective part of a frame: `image` (h, w, 3) uint8 is the input, `evidence` the model's own."""

    box: Box
    image: Image
    score: float
    evidence: Evidence | None


@dataclass(frozen=True, slots=True, eq=False)
class FlaggedFrame:
    """A frame with a defect on its way to its event; `latency` is in seconds.

    `handle` is the model that classified it, `tiles` are those of its inputs that are defective.
    `frame_interval` is the time in seconds between two frames of all live cameras together; 0: not known.
    `recipe` names the settings of the product that was on the line.
    """

    frame: Frame
    handle: ModelHandle
    verdict: Verdict
    tiles: tuple[FlaggedTile, ...]
    novelty: NoveltyScore | None
    latency: Mapping[Stage, float]
    frame_interval: float = 0.0
    recipe: str | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its images and of the evidence, as far as that tells its size."""
        evidence = sum(getattr(tile.evidence, "nbytes", 0) for tile in self.tiles)
        return self.frame.image.nbytes + self.frame.tile_inputs.nbytes + int(evidence)


def frame_gap(frame: Frame, cause: str, detail: str) -> Gap:
    """Return the gap of one frame that was captured and not inspected."""
    return Gap(
        camera=frame.camera,
        first=frame.number,
        last=frame.number,
        started_at=frame.captured_at,
        ended_at=frame.captured_at,
        frames=1,
        cause=cause,
        detail=detail,
        lost=(LostFrames(frame.number, frame.number, frame.captured_at, frame.source_name),),
    )
