"""What the page orders from the process that explains a frame."""

from pydantic import BaseModel, ConfigDict

METHODS = (
    "grad-cam",
    "grad-cam++",
    "score-cam",
    "faster-score-cam",
    "guided-backprop",
    "guided-grad-cam",
    "guided-grad-cam++",
    "guided-score-cam",
    "guided-faster-score-cam",
    "edges-grad-cam",
    "edges-grad-cam++",
    "edges-score-cam",
    "edges-faster-score-cam",
)
"""Those of `monitor.explain`, which loads TensorFlow; a test compares them."""


class ExplanationOrder(BaseModel):
    """The method, and the model and tiles with which the frame was flagged, as in the settings."""

    model_config = ConfigDict(frozen=True)

    method: str
    model: str
    sha256: str
    threshold: float
    roi: tuple[int, int, int, int] | None = None
    tiles: tuple[int, int] = (1, 1)
    overlap: float = 0.0
