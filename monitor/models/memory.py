"""What a bundle keeps of the frames that it was trained on, so that a later training does not forget them.

Features, not images: as long as the network below its last layer stays the same, they train that layer as
well as the images would, and they show nothing that may not be shipped.
"""

import io
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.models.arrays import open_arrays

MAX_FRAMES = 128
"""Frames that a bundle keeps: less than 1 MB for frames of one tile."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingMemory:
    """The features of the tiles of n frames, with their labels.

    `features` (v, t, c) float32, the means of the explained layer: view 0 as recorded, the others
    as bad cameras show the frame. `frame` (t,): the frame of each tile, ascending; `label` (t,): 1 for a
    defect, 0 for none, -1 where nobody knows. For each frame `defective` (n,), `keys` (n,) the hash of its
    pixels, `groups` (n,) what it is divided by, `surfaces` (n,), `categories` (n,) `good` or the kind of
    defect, and `aside` (n,): whether it is only measured on, never trained on.
    """

    features: NDArray[np.float32]
    frame: NDArray[np.intp]
    label: NDArray[np.int8]
    defective: NDArray[np.bool_]
    keys: NDArray[np.str_]
    groups: NDArray[np.str_]
    surfaces: NDArray[np.str_]
    categories: NDArray[np.str_]
    aside: NDArray[np.bool_]

    @property
    def starts(self) -> NDArray[np.intp]:
        """Where the tiles of each frame begin (n,)."""
        return np.searchsorted(self.frame, np.arange(len(self.defective)))

    def only(self, chosen: NDArray[np.bool_]) -> Self:
        """Return the frames that `chosen` (n,) marks."""
        tiles = chosen[self.frame]
        numbers = np.cumsum(chosen) - 1
        return type(self)(
            self.features[:, tiles],
            numbers[self.frame[tiles]],
            self.label[tiles],
            *(getattr(self, name)[chosen] for name in _PER_FRAME),
        )

    def without(self, keys: Collection[str]) -> Self:
        """Return the frames whose pixels have none of the hashes `keys`."""
        return self.only(~np.isin(self.keys, list(keys)))

    def joined(self, other: Self) -> Self:
        """Return the frames of both, those of `other` last."""
        views = min(len(self.features), len(other.features))
        return type(self)(
            np.concatenate([self.features[:views], other.features[:views]], axis=1),
            np.concatenate([self.frame, other.frame + len(self.defective)]),
            np.concatenate([self.label, other.label]),
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in _PER_FRAME),
        )

    def limited(self, count: int = MAX_FRAMES) -> Self:
        """Return at most `count` frames, as evenly as possible of each surface, kind and side.

        Hashes of pixels decide which: the same frames stay whenever there are others.
        """
        strata = list(zip(self.surfaces, self.categories, self.aside, strict=True))
        return self.only(choose_evenly(list(self.keys), strata, count))

    def to_bytes(self) -> bytes:
        """Return the arrays as the bytes of an .npz file."""
        buffer = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _PER_FRAME}
        np.savez_compressed(
            buffer, features=self.features.astype(np.float16), frame=self.frame, label=self.label, **arrays
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` wrote; runs nothing from it. Raises `ModelError`."""
        with open_arrays(content, "memory of its training") as arrays:
            found = {name: arrays[name] for name in ("features", "frame", "label", *_PER_FRAME)}
        frames, tiles = len(found["defective"]), len(found["frame"])
        fits = (
            found["features"].ndim == 3
            and found["features"].shape[1] == len(found["label"]) == tiles
            and all(found[name].shape == (frames,) for name in _PER_FRAME)
            and np.array_equal(np.unique(found["frame"]), np.arange(frames))
        )
        if not fits:
            raise ModelError("the model's memory of its training holds arrays that do not fit together")
        return cls(**(found | {"features": found["features"].astype(np.float32)}))


def choose_evenly(keys: Sequence[str], strata: Sequence[Hashable], count: int) -> NDArray[np.bool_]:
    """Return which (n,) of the frames with these `keys` (n) to keep: `count`, evenly of each of `strata` (n).

    The order of the keys decides.
    """
    seen: Counter[Hashable] = Counter()
    ranks = np.zeros(len(keys), np.intp)
    for index in np.argsort(np.array(keys, np.str_), kind="stable"):
        ranks[index] = seen[strata[index]]
        seen[strata[index]] += 1
    chosen = np.zeros(len(keys), bool)
    chosen[np.lexsort((np.array(keys, np.str_), ranks))[:count]] = True
    return chosen


_PER_FRAME = ("defective", "keys", "groups", "surfaces", "categories", "aside")
