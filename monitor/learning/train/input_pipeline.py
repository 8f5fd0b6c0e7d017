"""Feed images to the network in training: read, augmented and resized by tf.data while it learns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.imaging.geometry import resize_to_input
from monitor.learning.datasets.sample import Sample, load_image, load_mask
from monitor.learning.train.architecture import CAM_STRIDE, CHANNEL_MEAN
from monitor.learning.train.augment import Mask, augment, cutout
from monitor.records import Image

CUTOUT_FRACTION = 0.15
"""Share of training images that show one place only."""


WORKING_SIDES = 3
"""Images are first shrunk to this many times the network's input: large ones are then cheap to augment."""


EVALUATION = -1
"""Stands for an epoch where images are corrupted to score the network, not to train it; so does every one
below it."""


Change = Callable[[Image, Mask | None, np.random.Generator], tuple[Image, Mask | None]]


Target = NDArray[np.float32]
"""(height / 8, width / 8) float32: how far a cell is defective, 0..1; -1 where it is unknown."""


@dataclass(frozen=True, slots=True)
class InputPipeline:
    """Batches of `samples` at the network's `size` (height, width).

    Each is (images (b, h, w, 3) uint8, labels (b,) int32, targets (b, h / 8, w / 8) float32). They depend on
    `seed`, the epoch and the sample's index alone. `change` is how images are augmented or corrupted.
    """

    samples: Sequence[Sample]
    size: tuple[int, int]
    batch: int
    seed: int
    change: Change = augment

    def training(self, epoch: int, *, augmented: bool) -> Any:
        """Return all samples in an order that depends on the epoch, without a last batch that is not full."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.samples))
        # Fewer samples than a batch make one batch.
        return self._batches(order, epoch if augmented else None, drop=len(order) > self.batch)

    def judging(self, *, degraded: bool, view: int = 0) -> Any:
        """Return all samples in order, as they are or (`degraded`) each as the same bad camera shows it.

        `view`, 0 or more, selects one of several bad cameras.
        """
        epoch = EVALUATION - view if degraded else None
        return self._batches(np.arange(len(self.samples)), epoch, drop=False)

    def _batches(self, order: NDArray[np.int64], epoch: int | None, *, drop: bool) -> Any:
        height, width = self.size
        grid = (height // CAM_STRIDE, width // CAM_STRIDE)

        def load(index: np.int64) -> tuple[Image, np.int32, Target]:
            random = None
            if epoch is not None:
                # Entropy must not be negative: 0 stands for judging, which has no epoch.
                entropy = (self.seed, max(epoch + 1, 0), int(index))
                view = EVALUATION - epoch
                random = np.random.default_rng((*entropy, view) if view > 0 else entropy)
            return load_sample(
                self.samples[int(index)],
                self.size,
                random,
                veiled=epoch is not None and epoch > EVALUATION,
                change=self.change,
            )

        def shaped(index: Any) -> tuple[Any, Any, Any]:
            # Declared stateless, which it is: else a run that is to be repeatable would do one at a time.
            picture, label, target = tf.numpy_function(
                load, [index], (tf.uint8, tf.int32, tf.float32), stateful=False
            )
            picture.set_shape((height, width, 3))
            label.set_shape(())
            target.set_shape(grid)
            return picture, label, target

        return (
            tf.data.Dataset.from_tensor_slices(order)
            .map(shaped, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            .batch(self.batch, drop_remainder=drop)
            .prefetch(2)
        )


def load_sample(
    sample: Sample,
    size: tuple[int, int],
    random: np.random.Generator | None,
    *,
    veiled: bool = False,
    change: Change = augment,
) -> tuple[Image, np.int32, Target]:
    """Read one sample, `change` it by `random` if given, and fit it to `size` (height, width).

    With `veiled`, a share `CUTOUT_FRACTION` of images whose defects are known shows one place only. The label
    of a defect stays 1 unless its mask shows that the defect is out of sight.
    """
    image, mask = load_shrunk(sample, size)
    defective = sample.defective
    if random is None:
        return resize_to_input(image, size), np.int32(defective), cell_targets(mask, size)
    image, mask = change(image, mask, random)
    picture = resize_to_input(image, size)
    if mask is not None and veiled and random.random() < CUTOUT_FRACTION:
        picture, mask = cutout(picture, shrink_mask(mask, size), CHANNEL_MEAN, random)
        defective = bool(mask.any())
    return picture, np.int32(defective), cell_targets(mask, size)


def load_shrunk(sample: Sample, size: tuple[int, int]) -> tuple[Image, Mask | None]:
    """Read one sample and its mask, shrunk to a few times `size` (height, width)."""
    image = load_image(sample)
    mask = load_mask(sample, *image.shape[:2])
    return working_size(image, mask, WORKING_SIDES * min(size))


def cell_targets(mask: Mask | None, size: tuple[int, int]) -> Target:
    """Return how far each cell of the explained layer is defective, from `mask` (h, w); unknown for None.

    A cell's value is the share of the one input pixel at its centre that `mask` marks, every eighth pixel of
    `size` (height, width): the outline of a defect is kept exactly. What lies between the centres, such as a
    scratch or a small defect, would be lost. Every cell that such a part touches is 1.
    """
    height, width = size
    rows, columns = height // CAM_STRIDE, width // CAM_STRIDE
    if mask is None:
        return np.full((rows, columns), -1, np.float32)
    shown = _coverage(mask, size)
    centres = shown[::CAM_STRIDE, ::CAM_STRIDE][:rows, :columns]
    marked = (shown > 0).astype(np.uint8)
    # What a disc that always covers a centre fits into is thick; the margin removes its ragged outline.
    thick = cv2.morphologyEx(marked, cv2.MORPH_OPEN, _THICK)
    thin = _cells_touched((marked > 0) & (cv2.dilate(thick, _MARGIN) == 0), rows, columns)
    near_hit = cv2.dilate((centres > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    missed = _cells_touched(marked > 0, rows, columns) & ~near_hit
    return np.ascontiguousarray(np.where(thin | missed, np.float32(1), centres), np.float32)


_THICK = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (CAM_STRIDE + 5, CAM_STRIDE + 5))

_MARGIN = np.ones((CAM_STRIDE + 1, CAM_STRIDE + 1), np.uint8)


def _cells_touched(marked: Mask, rows: int, columns: int) -> Mask:
    """Return which cells, each of the 8x8 pixels around its centre, hold a marked pixel."""
    touched = np.zeros((rows, columns), bool)
    y, x = np.nonzero(marked)
    half = CAM_STRIDE // 2
    touched[
        np.minimum((y + half) // CAM_STRIDE, rows - 1), np.minimum((x + half) // CAM_STRIDE, columns - 1)
    ] = True
    return touched


def working_size(image: Image, mask: Mask | None, side: int) -> tuple[Image, Mask | None]:
    """Shrink `image` (h, w, 3) and `mask` (h, w) until the shorter side has at most `side` pixels."""
    height, width = image.shape[:2]
    share = side / min(height, width)
    if share >= 1:
        return image, mask
    size = (round(height * share), round(width * share))
    return resize_to_input(image, size), None if mask is None else shrink_mask(mask, size)


def shrink_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize `mask` (h, w) to `size` (height, width) so that nothing marked vanishes.

    A pixel is marked if any part of it is: the nearest pixel alone would lose thin scratches.
    """
    return np.asarray(_coverage(mask, size) > 0)


def _coverage(mask: Mask, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the share of each pixel of `size` (height, width) that `mask` marks, 0..1."""
    resized = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float32)
