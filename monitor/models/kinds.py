"""Which kind of defect an image shows, from the features that its classification computes anyway.

The verdict does not depend on it: the network knows good and defective, a kind only names what is flagged.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.models.arrays import open_arrays
from monitor.models.novelty import Features, shrunk_covariance

GOOD = ""
"""Stands for good images among the kinds of `fit_kind_classifier`."""


@dataclass(frozen=True, slots=True, eq=False)
class KindClassifier:
    """Linear discriminant analysis: the kind whose mean lies nearest, as kinds scatter.

    `names` (k), `means` (k, c) of the features' logarithms, and `precision` (c, c), the inverse of the
    covariance within a kind, float32.
    """

    names: tuple[str, ...]
    means: NDArray[np.float32]
    precision: NDArray[np.float32]

    def classify(self, features: Features) -> list[str]:
        """Return the name of the nearest kind for each of `features` (n, c)."""
        away = np.log1p(features)[:, None] - self.means
        distances = np.einsum("nkc,cd,nkd->nk", away, self.precision, away, optimize=True)
        return [self.names[index] for index in distances.argmin(axis=1)]

    def to_bytes(self) -> bytes:
        """Return the arrays as the bytes of an .npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, names=np.array(self.names), means=self.means, precision=self.precision)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "KindClassifier":
        """Read what `to_bytes` wrote; runs nothing from it. Raises `ModelError`."""
        with open_arrays(content, "file of kinds") as arrays:
            names = tuple(str(name) for name in arrays["names"])
            means, precision = arrays["means"], arrays["precision"]
        if not names or means.ndim != 2 or len(means) != len(names) or precision.shape != means.shape[1:] * 2:
            raise ModelError("the model's file of kinds holds arrays that do not fit together")
        return cls(names, means.astype(np.float32), precision.astype(np.float32))


def fit_kind_classifier(features: Features, kinds: Sequence[str]) -> KindClassifier:
    """Fit on `features` (n, c) of images whose `kinds` (n) are known; good images are one of them.

    Good images show how features scatter, which a few defects cannot; they are no kind of the result.
    """
    logs, labels = np.log1p(features.astype(np.float64)), np.array(kinds)
    means = {name: logs[labels == name].mean(axis=0) for name in sorted(set(kinds))}
    covariance = shrunk_covariance(logs - np.stack([means[name] for name in kinds]))
    names = tuple(name for name in means if name != GOOD)
    return KindClassifier(
        names,
        np.stack([means[name] for name in names]).astype(np.float32),
        np.linalg.inv(covariance).astype(np.float32),
    )
