"""What the pipeline tells whoever measures it. `monitor.telemetry.metrics.Metrics` is one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from monitor.inference.handle import Evidence, ModelHandle
from monitor.models.novelty import NoveltyScore
from monitor.records import Box, ExplanationOutcome, Frame, FrameOutcome, Image, Stage, Verdict


class PipelineObserver(Protocol):
    """Counts frames and times stages; every call is cheap and never fails."""

    def on_frame(self, camera: str, timestamp: float) -> None:
        """A frame came from `camera` at Unix time `timestamp`."""

    def on_stage(self, camera: str, stage: Stage, seconds: float) -> None:
        """A frame of `camera` spent `seconds` in `stage`."""

    def on_verdict(self, camera: str, score: float, seconds: float) -> None:
        """A frame was judged: its defect score, 0..1, `seconds` after its capture."""

    def on_outcome(self, camera: str, outcome: FrameOutcome) -> None:
        """A frame was taken up, with this outcome."""

    def on_explanation(self, camera: str, outcome: ExplanationOutcome) -> None:
        """A flagged frame was explained, or was not."""

    def on_novelty(self, camera: str, distance: float, limit: float) -> None:
        """A judged frame lies `distance` from the training data; beyond `limit` it is unfamiliar."""


class FrameProvider(Protocol):
    """What the judge needs of a camera."""

    name: str

    @property
    def source_waits(self) -> bool:
        """Whether the source waits while frames are queued, so that none is lost."""

    def take(self, limit: int) -> list[Frame]:
        """At most `limit` waiting frames, oldest first; does not wait."""

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more."""


@dataclass(frozen=True, slots=True, eq=False)
class FlaggedTile:
    """A defective part of a frame: `image` (h, w, 3) uint8 is the model's input."""

    box: Box
    image: Image
    score: float
    evidence: Evidence | None


@dataclass(frozen=True, slots=True, eq=False)
class FlaggedFrame:
    """A frame with a defect on its way to its event; `latency` is in seconds.

    `handle` is the model that classified it, `tiles` are those of its inputs that are defective.
    """

    frame: Frame
    handle: ModelHandle
    verdict: Verdict
    tiles: tuple[FlaggedTile, ...]
    novelty: NoveltyScore | None
    latency: Mapping[Stage, float]
