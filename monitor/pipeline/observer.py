"""What the pipeline tells whoever measures it. `monitor.measure.metrics.Metrics` is one."""

from typing import Protocol

from monitor.records import Explained, Outcome, Stage


class Observer(Protocol):
    """Counts frames and times stages; every call is cheap and never fails."""

    def captured(self, camera: str, timestamp: float) -> None:
        """A frame came from `camera` at Unix time `timestamp`."""

    def stage(self, camera: str, stage: Stage, seconds: float) -> None:
        """A frame of `camera` spent `seconds` in `stage`."""

    def verdict(self, camera: str, score: float, seconds: float) -> None:
        """A frame was judged: its defect score, 0..1, `seconds` after its capture."""

    def frame(self, camera: str, outcome: Outcome) -> None:
        """A frame was taken up, with this outcome."""

    def explanation(self, camera: str, outcome: Explained) -> None:
        """A flagged frame was explained, or was not."""

    def novelty(self, camera: str, distance: float, limit: float) -> None:
        """A judged frame lies `distance` from the training data; beyond `limit` it is unfamiliar."""
