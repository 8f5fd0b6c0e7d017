"""Whether an image is like those the network was trained on.

A network answers on any surface. Its features show whether the surface is known: then they lie close to the
features of the training images.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.models.arrays import open_arrays

Features = NDArray[np.float32]
"""(n, c) float32: the activations of the explained layer, averaged over all positions."""


@dataclass(frozen=True, slots=True, eq=False)
class NoveltyDetector:
    """Mahalanobis distance of an image's features from those of the training images.

    `mean` (c,), `whitening` (c, c) float32, `limit` the distance above which an image is unfamiliar.
    """

    mean: NDArray[np.float32]
    whitening: NDArray[np.float32]
    limit: float

    def distance(self, features: Features) -> NDArray[np.float32]:
        """How far each of `features` (n, c) lies from the training data: (n,), near 1 for a known surface."""
        with np.errstate(invalid="ignore"):  # some processors' products warn of infinity, some do not
            white = (np.log1p(features) - self.mean) @ self.whitening
            return np.asarray(np.sqrt(np.mean(np.square(white), axis=1)), np.float32)

    def is_novel(self, features: Features) -> NDArray[np.bool_]:
        """(n,): which of `features` (n, c) lie beyond the limit; not finite counts as unfamiliar."""
        return ~(self.distance(features) <= self.limit)

    def to_bytes(self) -> bytes:
        """The arrays as the bytes of an .npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, mean=self.mean, whitening=self.whitening, limit=np.float64(self.limit))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "NoveltyDetector":
        """Read what `to_bytes` wrote; runs nothing from it. Raises `ModelError`."""
        with open_arrays(content, "familiarity file") as arrays:
            mean, whitening = arrays["mean"], arrays["whitening"]
            limit = float(arrays["limit"])
        if mean.ndim != 1 or whitening.shape != (len(mean), len(mean)):
            raise ModelError("the model's familiarity file holds arrays that do not fit together")
        return cls(mean.astype(np.float32), whitening.astype(np.float32), limit)


def fit_novelty_detector(training: Features, validation: Features, *, share: float = 0.01) -> NoveltyDetector:
    """Fit what is familiar: the shape of `training` (n, c), and the limit `share` of `validation` crosses.

    Features are averages of rectified activations, many of them near zero: their logarithm is nearer to a
    normal distribution. The covariance is shrunk towards a multiple of the identity (Ledoit and Wolf 2004,
    "A well-conditioned estimator for large-dimensional covariance matrices"), for there are fewer images
    than features.
    Raises ValueError with fewer than two training images.
    """
    if len(training) < 2 or len(validation) < 1:
        raise ValueError("familiarity needs at least two training images and one for validation")
    logs = np.log1p(training.astype(np.float64))
    mean = logs.mean(axis=0)
    values, vectors = np.linalg.eigh(shrunk_covariance(logs - mean))
    whitening = (vectors / np.sqrt(values)) @ vectors.T
    draft = NoveltyDetector(mean.astype(np.float32), whitening.astype(np.float32), np.inf)
    limit = np.quantile(draft.distance(validation), 1 - share, method="higher")
    return NoveltyDetector(draft.mean, draft.whitening, float(limit))


def shrunk_covariance(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Ledoit and Wolf's estimate of the covariance of `centred` (n, c): (c, c)."""
    count, width = centred.shape
    sample = centred.T @ centred / count
    target = float(np.trace(sample)) / width
    spread = float(np.sum(sample**2)) - width * target**2
    noise = float(np.sum(np.sum(centred**2, axis=1) ** 2)) / count - float(np.sum(sample**2))
    share = min(1.0, noise / count / spread) if spread > 0 else 1.0
    floor = 1e-6  # features that never vary must not make the distance infinite
    return np.asarray((1 - share) * sample + (share * target + floor) * np.eye(width))


@dataclass(frozen=True, slots=True)
class NoveltyScore:
    """How far a frame lies from the training data; beyond `limit` its surface is unfamiliar."""

    distance: float
    limit: float

    @property
    def is_novel(self) -> bool:
        """Whether the verdict rests on a surface that the network was not trained on."""
        return self.distance > self.limit
