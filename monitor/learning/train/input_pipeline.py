"""Pictures on their way into the network: read, changed and resized by tf.data while it learns."""

from collections.abc import Sequence
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
"""Share of training pictures that show one place only."""


WORKING_SIDES = 3
"""Pictures are first shrunk to this many times the network's input: large ones are then cheap to change."""


EVALUATION = -1
"""Stands for an epoch where pictures are spoiled to judge the network, not to teach it."""


Target = NDArray[np.float32]
"""(height / 8, width / 8) float32: the share of a cell that is defective, 0..1; -1 where it is unknown."""


@dataclass(frozen=True, slots=True)
class InputPipeline:
    """Batches of `samples` at the network's `size` (height, width).

    Each is (pictures (b, h, w, 3) uint8, labels (b,) int32, targets (b, h / 8, w / 8) float32). What comes
    depends on `seed`, the epoch and the sample's place alone.
    """

    samples: Sequence[Sample]
    size: tuple[int, int]
    batch: int
    seed: int

    def training(self, epoch: int, *, augmented: bool) -> Any:
        """All samples in an order of the epoch's own; a last batch that is not full is left out."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.samples))
        # Fewer samples than a batch make one batch.
        return self._batches(order, epoch if augmented else None, drop=len(order) > self.batch)

    def judging(self, *, degraded: bool) -> Any:
        """All samples in their order, as they are or (`spoiled`) each as one same bad camera shows it."""
        return self._batches(np.arange(len(self.samples)), EVALUATION if degraded else None, drop=False)

    def _batches(self, order: NDArray[np.int64], epoch: int | None, *, drop: bool) -> Any:
        height, width = self.size
        grid = (height // CAM_STRIDE, width // CAM_STRIDE)

        def load(index: np.int64) -> tuple[Image, np.int32, Target]:
            random = None
            if epoch is not None:
                # Entropy must not be negative: 0 stands for judging, which has no epoch.
                random = np.random.default_rng((self.seed, epoch + 1, int(index)))
            return load_sample(self.samples[int(index)], self.size, random, veiled=epoch != EVALUATION)

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
    sample: Sample, size: tuple[int, int], random: np.random.Generator | None, *, veiled: bool = False
) -> tuple[Image, np.int32, Target]:
    """Read one sample, change it by `random` if given, and fit it to `size` (height, width).

    With `veiled`, a share `VEILED` of pictures whose defects are known shows one place only.
    """
    image = load_image(sample)
    mask = load_mask(sample, *image.shape[:2])
    image, mask = _working_size(image, mask, WORKING_SIDES * min(size))
    defective = sample.defective
    if random is None:
        return resize_to_input(image, size), np.int32(defective), cell_targets(mask, size)
    image, mask = augment(image, mask, random)
    picture = resize_to_input(image, size)
    if mask is not None and veiled and random.random() < CUTOUT_FRACTION:
        shape = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0
        picture, mask = cutout(picture, shape, CHANNEL_MEAN, random)
        defective = bool(mask.any())
    return picture, np.int32(defective), cell_targets(mask, size)


def cell_targets(mask: Mask | None, size: tuple[int, int]) -> Target:
    """What the cells of the explained layer look at: `mask` (h, w) at every eighth pixel of `size`."""
    height, width = size
    if mask is None:
        return np.full((height // CAM_STRIDE, width // CAM_STRIDE), -1, np.float32)
    shown = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(shown[::CAM_STRIDE, ::CAM_STRIDE], np.float32)


def _working_size(image: Image, mask: Mask | None, side: int) -> tuple[Image, Mask | None]:
    height, width = image.shape[:2]
    share = side / min(height, width)
    if share >= 1:
        return image, mask
    size = (round(height * share), round(width * share))
    if mask is not None:
        mask = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return resize_to_input(image, size), mask
