"""When the first layers of a network suffice to call an input clearly good.

Most inputs of a line are. Narrow convolutions on an early layer tell them from the others, which the whole
network classifies.
"""

import io
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.models.arrays import open_arrays
from monitor.models.novelty import NoveltyDetector

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Screening:
    """An early exit of a network, at its layer `layer`.

    `kernels` (size, size, in, out) and `biases` (out,) are those of its convolutions. The last one has one
    output, the logit of a defect in each cell; the highest is that of the input. `graphs.exit_logits` applies
    them. An input is clearly good if its score is below `limit`, 0..1, and `familiarity` knows the means of
    the layer's maps. That holds for thresholds from `limit` on: with a lower one the whole network classifies
    all inputs.
    """

    layer: str
    kernels: tuple[Array, ...]
    biases: tuple[Array, ...]
    limit: float
    familiarity: NoveltyDetector

    def to_bytes(self) -> bytes:
        """Return the arrays as the bytes of an .npz file."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"layer": np.array(self.layer)}
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            arrays |= {f"kernel{index}": kernel, f"bias{index}": bias}
        arrays |= {"mean": self.familiarity.mean, "whitening": self.familiarity.whitening}
        arrays |= {"score_limit": np.float64(self.limit), "limit": np.float64(self.familiarity.limit)}
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Screening":
        """Read what `to_bytes` wrote; runs nothing from it. Raises `ModelError`."""
        familiarity = NoveltyDetector.from_bytes(content)
        with open_arrays(content, "screening file") as arrays:
            layer, limit = str(arrays["layer"]), float(arrays["score_limit"])
            count = sum(name.startswith("kernel") for name in arrays)
            kernels = tuple(arrays[f"kernel{index}"].astype(np.float32) for index in range(count))
            biases = tuple(arrays[f"bias{index}"].astype(np.float32) for index in range(count))
        widths = [len(familiarity.mean), *(bias.shape[-1] for bias in biases)]
        shapes = [kernel.shape[2:] for kernel in kernels]
        shapes = [(read // 2 if index == 1 else read, out) for index, (read, out) in enumerate(shapes)]
        if not count or widths[-1] != 1 or shapes != list(pairwise(widths)):
            raise ModelError("the model's screening file holds arrays that do not fit together")
        if not 0 < limit < 1 or not all(np.isfinite(each).all() for each in (*kernels, *biases)):
            raise ModelError("the model's screening file holds numbers that make no sense")
        return cls(layer, kernels, biases, limit, familiarity)
