"""When the first layers of a network suffice to call an input clearly good.

Most inputs of a line are. A linear function of statistics of an early layer's maps tells them from the
others, which the whole network classifies.
"""

import io
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.models.novelty import NoveltyDetector


@dataclass(frozen=True, slots=True, eq=False)
class Screening:
    """An early exit of a network.

    `layer` names the layer that is read. `weights` (d,) float32 and `bias` turn its statistics into a logit
    of a defect. An input is clearly good if that lies more than `margin` below the logit of the threshold,
    and `familiarity` knows the layer's activations, averaged over space.
    """

    layer: str
    weights: NDArray[np.float32]
    bias: float
    margin: float
    familiarity: NoveltyDetector

    def to_bytes(self) -> bytes:
        """Return the arrays as the bytes of an .npz file."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            layer=np.array(self.layer),
            weights=self.weights,
            bias=np.float64(self.bias),
            margin=np.float64(self.margin),
            mean=self.familiarity.mean,
            whitening=self.familiarity.whitening,
            limit=np.float64(self.familiarity.limit),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Screening":
        """Read what `to_bytes` wrote; runs nothing from it. Raises `ModelError`."""
        detector = NoveltyDetector.from_bytes(content)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                weights, layer = arrays["weights"].astype(np.float32), str(arrays["layer"])
                bias, margin = float(arrays["bias"]), float(arrays["margin"])
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ModelError(f"the model's screening file cannot be read: {error}") from error
        if weights.ndim != 1 or not np.isfinite([*weights, bias, margin]).all() or margin < 0:
            raise ModelError("the model's screening file holds numbers that make no sense")
        return cls(layer, weights, bias, margin, detector)
