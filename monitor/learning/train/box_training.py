"""Train the box head on the frozen features of a finished network, so that no verdict changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from monitor.imaging.geometry import resize_to_input
from monitor.inference.network import activation_heat
from monitor.learning.datasets.sample import load_image, load_mask
from monitor.learning.datasets.tiling import FrameTruth, Tiling, tile
from monitor.learning.train.architecture import CAM_STRIDE
from monitor.learning.train.augment import Mask, augment
from monitor.learning.train.input_pipeline import WORKING_SIDES, working_size
from monitor.learning.train.sampling import place_with_defect
from monitor.models.box_head import WINDOWS, BoxHead, window_means
from monitor.models.card import ModelCard
from monitor.models.preprocessing import preprocess
from monitor.records import Image

Array = NDArray[np.float32]

VIEWS = 16
"""How many times each defect is shown, each time augmented differently."""

CELLS = 5
"""Cells of a view that are trained on: the hottest one, and others above `HOT`, at random."""

HOT = 0.5
"""Heat, as a fraction of the peak, from which a cell is trained on; the cells that boxes are decoded at."""

MIN_DEFECTS = 10
"""With fewer defects a head would learn them by heart."""

PROJECTED, HIDDEN = 64, 64
"""Channels after the projection, and units of the hidden layer."""

STEPS, BATCH = 1000, 128
"""Steps of training, at least, and cells in each."""

_BATCH_OF_VIEWS = 16


@dataclass(frozen=True, slots=True, eq=False)
class BoxExamples:
    """n cells to train on: `context` (n, windows * d) of projected activations, and true `extents` (n, 4).

    `frames` (n,) is the index of the frame that each comes from.
    """

    context: Array
    extents: Array
    frames: NDArray[np.intp]

    def of(self, chosen: NDArray[np.bool_]) -> "BoxExamples":
        """Return the cells that `chosen` (n,) marks."""
        return BoxExamples(self.context[chosen], self.extents[chosen], self.frames[chosen])


def fit_box_head(
    model: Any, card: ModelCard, truths: Sequence[FrameTruth], tiling: Tiling, seed: int
) -> BoxHead | None:
    """Train a box head for `model` on the defects of `truths`, in frames cut by `tiling`.

    None where fewer than `MIN_DEFECTS` have a mask. The network stays as it is.
    """
    known = [truth for truth in truths if truth.is_known and truth.sample.defective]
    if len(known) < MIN_DEFECTS:
        return None
    features = FeatureReader(model, card)
    projection = fit_projection(features, known, tiling)
    if projection is None:
        return None
    examples = collect_examples(features, projection, known, tiling, seed)
    return train_head(projection, examples, seed) if len(np.unique(examples.frames)) >= MIN_DEFECTS else None


class FeatureReader:
    """Computes the activations of the explained layer."""

    def __init__(self, model: Any, card: ModelCard) -> None:
        self.card = card
        both = keras.Model(model.input, [model.get_layer(card.cam_layer).output, model.output])
        self._run = tf.function(lambda x: both(x, training=False), reduce_retracing=True)

    def __call__(self, images: Sequence[Image]) -> tuple[Array, Array]:
        """Return activations (b, rows, columns, c) and scores (b,) of images (h, w, 3) uint8 of its size."""
        activations, outputs = self._run(tf.constant(preprocess(self.card, np.stack(images))))
        return activations.numpy(), outputs.numpy()[:, self.card.defect_class]


def fit_projection(
    features: FeatureReader, truths: Sequence[FrameTruth], tiling: Tiling
) -> tuple[Array, Array] | None:
    """Return the principal components of the activations near defects: (c, d), and the offset (d,).

    None where no heat lies on any defect.
    """
    cells: list[Array] = []
    for index, truth in enumerate(truths):
        view = _view(truth, tiling, features.card.input_size, np.random.default_rng((index,)), plain=True)
        if view is not None:
            activations = features([view[0]])[0][0]
            chosen = _hot_cells(activations, view[1], features.card, None)
            cells.append(
                window_means(activations)[chosen[:, 0], chosen[:, 1]].reshape(-1, activations.shape[-1])
            )
    if not any(len(part) for part in cells):
        return None
    values = np.concatenate(cells).astype(np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-3
    _, vectors = np.linalg.eigh(np.cov((values - mean).T / deviation[:, None]))
    directions = vectors[:, ::-1][:, :PROJECTED] / deviation[:, None]
    spread = ((values - mean) @ directions).std(axis=0) + 1e-3
    # Square roots: leading components stay larger, but do not hide the others.
    directions = directions / np.sqrt(spread * spread[0])
    return directions.astype(np.float32), (-mean @ directions).astype(np.float32)


def collect_examples(
    features: FeatureReader,
    projection: tuple[Array, Array],
    truths: Sequence[FrameTruth],
    tiling: Tiling,
    seed: int,
) -> BoxExamples:
    """Show each defect `VIEWS` times, augmented, and collect cells around it."""
    context: list[Array] = []
    extents: list[Array] = []
    frames: list[NDArray[np.intp]] = []
    for numbers, images, boxes in _batches(truths, tiling, features.card.input_size, seed):
        for number, activations, box in zip(numbers, features(images)[0], boxes, strict=True):
            random = np.random.default_rng((seed, number, len(frames)))
            cells = _hot_cells(activations, box, features.card, random)
            if not len(cells):
                continue
            means = window_means(activations @ projection[0] + projection[1])
            context.append(means[cells[:, 0], cells[:, 1]])
            extents.append(_extents(cells, box, features.card))
            frames.append(np.full(len(cells), number))
    empty = np.empty((0, len(WINDOWS) * projection[0].shape[1]), np.float32)
    return BoxExamples(
        np.concatenate([empty, *context]),
        np.concatenate([np.empty((0, 4), np.float32), *extents]),
        np.concatenate([np.empty(0, np.intp), *frames]),
    )


def train_head(projection: tuple[Array, Array], examples: BoxExamples, seed: int) -> BoxHead:
    """Train the dense layers on `examples` with the GIoU loss."""
    keras.utils.set_random_seed(seed)
    start = np.log(examples.extents).mean(axis=0)
    head = keras.Sequential(
        [
            keras.layers.Dropout(0.2),
            keras.layers.Dense(HIDDEN, activation="relu", kernel_initializer="he_normal"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(
                4, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(start)
            ),
        ]
    )
    epochs = -(-STEPS * BATCH // len(examples.extents))
    rate = keras.optimizers.schedules.CosineDecay(3e-3, STEPS)
    head.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), loss=giou_loss)
    head.fit(examples.context, examples.extents, batch_size=BATCH, epochs=epochs, verbose=0)
    return BoxHead(*projection, *(np.asarray(weight, np.float32) for weight in head.get_weights()))


def giou_loss(extents: Any, logs: Any) -> Any:
    """Return one minus the generalised IoU of boxes around the same cell (Rezatofighi et al. 2019,
    arXiv 1902.09630): (b,), 0..2.

    `extents` (b, 4) are the true distances to left, top, right and bottom, all above 0; `logs` (b, 4) the
    logarithms of the predicted ones.
    """
    predicted = tf.exp(tf.clip_by_value(logs, -3.0, 7.0))
    inner, outer = tf.minimum(extents, predicted), tf.maximum(extents, predicted)
    both, hull = _area(inner), _area(outer)
    union = _area(extents) + _area(predicted) - both
    return 1 - both / union + (hull - union) / hull


def _area(extents: Any) -> Any:
    return (extents[:, 0] + extents[:, 2]) * (extents[:, 1] + extents[:, 3])


def _batches(
    truths: Sequence[FrameTruth], tiling: Tiling, size: tuple[int, int], seed: int
) -> Iterator[tuple[list[int], list[Image], list[Array]]]:
    views = (
        (index, *view)
        for index, truth in enumerate(truths)
        for number in range(VIEWS)
        if (view := _view(truth, tiling, size, np.random.default_rng((seed, index, number)))) is not None
    )
    pending: list[tuple[int, Image, Array]] = []
    for each in views:
        pending.append(each)
        if len(pending) == _BATCH_OF_VIEWS:
            yield _columns(pending)
            pending = []
    if pending:
        yield _columns(pending)


def _columns(rows: Sequence[tuple[int, Image, Array]]) -> tuple[list[int], list[Image], list[Array]]:
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _view(
    truth: FrameTruth,
    tiling: Tiling,
    size: tuple[int, int],
    random: np.random.Generator,
    *,
    plain: bool = False,
) -> tuple[Image, Array] | None:
    """Show the defect of `truth` in a tile: the network's input, and the box (4,) in its pixel edges.

    Half of the tiles are at random places around the defect, half are the daemon's, which may cut it. None
    where no tile shows it, or augmentation moved it out.
    """
    sample = truth.sample
    if not tiling.is_whole_frame:
        boxes = tiling.boxes(truth.width, truth.height)
        shown = [box for box in boxes if truth.label(box)]
        if shown and random.random() < 0.5:
            place = shown[int(random.integers(len(shown)))]
        elif (found := place_with_defect(truth, boxes, random)) is not None:
            place = found
        else:
            return None
        sample = tile(truth, place)
    image = load_image(sample)
    mask = load_mask(sample, *image.shape[:2])
    if mask is None or not mask.any():
        return None
    if not plain:
        image, shrunk = working_size(image, mask, WORKING_SIDES * min(size))
        image, moved = augment(image, shrunk, random)
        if moved is None or not moved.any():
            return None
        mask = moved
    return resize_to_input(image, size), _largest_box(mask, size)


def _largest_box(mask: Mask, size: tuple[int, int]) -> Array:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    left, top, wide, high, _ = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())]
    across, down = size[1] / mask.shape[1], size[0] / mask.shape[0]
    return np.array([left * across, top * down, (left + wide) * across, (top + high) * down], np.float32)


def _hot_cells(
    activations: Array, box: Array, card: ModelCard, random: np.random.Generator | None
) -> NDArray[np.intp]:
    """Return hot cells (n, 2), row and column, within `box`, the hottest one first; all without `random`."""
    heat = activation_heat(activations[None], card.localisation.max_n).heatmap
    cells = np.argwhere(heat >= HOT)
    cells = cells[(_extents(cells, box, card) > 0).all(axis=1)]
    cells = cells[np.argsort(-heat[cells[:, 0], cells[:, 1]], kind="stable")]
    if random is None or len(cells) <= CELLS:
        return cells
    return np.concatenate([cells[:1], cells[1 + random.permutation(len(cells) - 1)[: CELLS - 1]]])


def _extents(cells: NDArray[np.intp], box: Array, card: ModelCard) -> Array:
    """Return how far `box` reaches from the centre of each of `cells` (n, 2): (n, 4)."""
    centres = cells[:, ::-1] * CAM_STRIDE + np.asarray(card.cell_offset) + 0.5
    return np.concatenate([centres - box[:2], box[2:] - centres], axis=1).astype(np.float32)
