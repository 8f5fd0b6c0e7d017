"""The whole daemon on this machine with nothing to configure, and a count of how well it did.

What is shown comes from Redis, as any subscriber would get it; what is true comes from the simulation.
"""

from dataclasses import dataclass, field
from pathlib import Path

from monitor.events.event import Event, EventRegion
from monitor.imaging.ellipse import Ellipse


@dataclass(frozen=True, slots=True)
class ScoredEvent:
    """An event that came through Redis: `hit` if a box lies on a defect, `elsewhere` counts others."""

    event: Event
    hit: bool
    elsewhere: int


@dataclass(slots=True)
class Scorecard:
    """What came out of a demo. Latencies are in seconds; NaN where nothing was measured."""

    frames: int = 0
    not_inspected: int = 0
    defects: int = 0
    defects_not_inspected: int = 0
    seen: list[ScoredEvent] = field(default_factory=list)
    missed: int = 0
    verdict: tuple[float, float] = (float("nan"), float("nan"))
    event: tuple[float, float] = (float("nan"), float("nan"))
    pictures: list[Path] = field(default_factory=list)

    @property
    def hits(self) -> int:
        """Flagged frames with a box on the defect."""
        return sum(seen.hit for seen in self.seen)

    @property
    def without_box(self) -> int:
        """Flagged frames without a place, as where the demo ended before they were explained."""
        return sum(not seen.event.regions for seen in self.seen)

    @property
    def elsewhere(self) -> int:
        """Boxes that lie on no defect."""
        return sum(seen.elsewhere for seen in self.seen)


def covers_defect(place: EventRegion, truth: Ellipse, *, width: int, height: int) -> bool:
    """Whether the middle of a box lies within the ellipse, in a picture of `width` x `height` pixels."""
    row, column = place.y + place.height // 2, place.x + place.width // 2
    return bool(truth.mask(height, width)[row, column])
