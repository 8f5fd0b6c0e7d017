"""Compute Score-CAM and Faster-Score-CAM in plain TensorFlow, usable inside a tf.function.

Each map of a convolution masks the input. The network's score of the masked input weights the map.
The rectified sum of the weighted maps is the heat. Faster-Score-CAM scores only the `max_n` maps with the
highest standard deviation.

Both scorings use N masked inputs X ∘ M_k for the maps A_k; U is the bilinear resize to the input.

`seed`, also called `article`, the published Faster-Score-CAM function (futakuchi, tabayashi):
    M_k = U(A_k) / (max U(A_k) - min U(A_k)), undivided where the range is zero; the minimum is not subtracted
    w_k = softmax(f(X ∘ M_k))[target], f being the network's output. Where that output already is a
          softmax, this second one limits the weights of two classes to 0.27..0.73.
    L   = ReLU(Σ w_k A_k), divided by its maximum

`paper`, Score-CAM (Wang et al. 2020, arXiv 1910.01279):
    M_k = (U(A_k) - min) / (max - min), zero where the range is zero
    w_k = p(X ∘ M_k)[target] - p(X_b)[target], the Channel-wise Increase of Confidence,
          p being the class probabilities (one softmax) and X_b a zero input, or
          another background, with which the masked X is then blended
    L   = ReLU(Σ w_k A_k), divided by its maximum
The paper's Algorithm 1 differs from its definitions in one step: it passes the N differences through a
softmax over k. That cancels the baseline, which is the same for every k, and makes the weights of
probabilities nearly equal (within a factor of e of each other), so this module follows the definitions.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import tensorflow as tf

Scoring = Literal["seed", "paper", "article"]


SCORINGS: tuple[Scoring, ...] = ("seed", "paper", "article")
"""`article` is an alias of `seed`."""


FLAT = 1e-5
"""Heat that varies by less than this fraction of its maximum is rounding error, not evidence."""


def score_cam(
    forward: Callable[[tf.Tensor], tf.Tensor],
    inputs: tf.Tensor,
    activations: tf.Tensor,
    target: tf.Tensor,
    *,
    max_n: int | None,
    scoring: Scoring = "seed",
    chunk: int | None = None,
    rank: tf.Tensor | None = None,
    background: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the heat of each image for its target class. Images do not influence each other.

    `forward` maps (n, h, w, d) float32 preprocessed inputs to (n, classes): for `paper` probabilities,
    for `seed` the network's own output, so that logits get exactly one softmax.
    `inputs` is (b, h, w, d), `activations` (b, fh, fw, c) the layer's output for them, `target` (b,) int32.
    `max_n` selects the maps with the highest `rank` (b, c), by default their standard deviation (ties: the
    lower channel first); None selects all. At most `chunk` masked inputs exist at a time; None computes all
    in one batch. For `paper`, `background` (h, w, d) is the preprocessed image X_b that shows where a mask is
    dark (default: zero, as in the paper). If the class is a lack of texture, a blank image supports it: only
    a background without the class then yields heat.

    Returns heat (b, fh, fw) float32, each image scaled to a maximum of 1, and strength (b,), the maximum
    before scaling. Where inputs, activations or scores are not finite, or the heat is zero or flat, both
    are zero.
    """
    weighted = weigh_maps(
        forward,
        inputs,
        activations,
        target,
        max_n=max_n,
        scoring=scoring,
        chunk=chunk,
        rank=rank,
        background=background,
    )
    heat, strength = weighted.heat()
    finite = all_finite(inputs) & all_finite(activations)  # a ReLU may have turned NaN into 0
    return tf.where(finite[:, None, None], heat, 0.0), tf.where(finite, strength, 0.0)


class WeightedMaps(NamedTuple):
    """The maps (b, k, fh, fw) that Score-CAM adds, and the weight of each (b, k)."""

    maps: tf.Tensor
    weights: tf.Tensor

    def heat(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the rectified sum of the weighted maps (b, fh, fw), scaled, and its maximum (b,)."""
        return scale_heat(tf.nn.relu(tf.reduce_sum(self.weights[:, :, None, None] * self.maps, axis=1)))


def weigh_maps(
    forward: Callable[[tf.Tensor], tf.Tensor],
    inputs: tf.Tensor,
    activations: tf.Tensor,
    target: tf.Tensor,
    *,
    max_n: int | None,
    scoring: Scoring,
    chunk: int | None,
    rank: tf.Tensor | None,
    background: tf.Tensor | None,
) -> WeightedMaps:
    """Choose and weigh the maps of each image; the arguments are those of `score_cam`."""
    inputs = tf.cast(inputs, tf.float32)
    activations = tf.cast(activations, tf.float32)
    maps = top_maps(activations, max_n, map_std(activations) if rank is None else rank)  # (b, k, fh, fw)
    batch, count = _size(maps, 0), _size(maps, 1)
    all_maps = tf.reshape(maps, [batch * count, _size(maps, 2), _size(maps, 3)])
    of_image = tf.repeat(tf.range(batch), count)  # (b·k,)

    def score(rows: tf.Tensor) -> tf.Tensor:
        """Return the weights (n,) of the maps at `rows` (n,)."""
        images = tf.gather(of_image, rows)
        own = inputs if batch == 1 else tf.gather(inputs, images)  # a single image broadcasts without copies
        mask = upsampled_masks(tf.gather(all_maps, rows), tf.shape(inputs)[1:], scoring)
        masked = own * mask if background is None else background + (own - background) * mask
        return class_score(forward(masked), tf.gather(target, images), scoring)

    weights = _in_chunks(score, batch * count, chunk)
    weights = tf.reshape(weights, [batch, count])
    if scoring == "paper":
        blank = tf.zeros_like(inputs[:1]) if background is None else background[None]
        baseline = tf.cast(forward(blank), tf.float32)  # (1, classes)
        weights -= tf.gather(baseline[0], target)[:, None]
    return WeightedMaps(maps, weights)


def map_std(activations: tf.Tensor) -> tf.Tensor:
    """Return the standard deviation of each map of (b, fh, fw, c): (b, c)."""
    return tf.math.reduce_std(activations, axis=[1, 2])


def top_maps(activations: tf.Tensor, max_n: int | None, rank: tf.Tensor) -> tf.Tensor:
    """Select the `max_n` maps of highest `rank` (b, c), in that order: (b, fh, fw, c) to (b, k, fh, fw).

    If all maps are selected (None, or `max_n` of at least c), they stay in the order of the channels.
    """
    maps = tf.transpose(activations, [0, 3, 1, 2])
    if max_n is None or max_n >= activations.shape[-1]:
        return maps
    lowest = tf.fill(tf.shape(rank), rank.dtype.min)
    chosen = tf.math.top_k(tf.where(tf.math.is_finite(rank), rank, lowest), k=max_n).indices
    if activations.shape[0] == 1:  # a plain gather is faster, and every runtime supports it
        return tf.gather(maps[0], chosen[0])[None]
    return tf.gather(maps, chosen, axis=1, batch_dims=1)


def upsampled_masks(maps: tf.Tensor, shape: tf.Tensor, scoring: Scoring) -> tf.Tensor:
    """Resize maps (n, fh, fw) to the input's `shape` (h, w, d) and scale them: (n, h, w, d).

    `tf.image.resize` is bilinear between pixel centres with repeated edges, like cv2.INTER_LINEAR. The d
    channels of a mask are equal; resizing all of them at once is fastest.
    """
    resized = tf.image.resize(tf.repeat(maps[..., None], shape[2], axis=-1), shape[:2])
    low = tf.reduce_min(resized, axis=[1, 2, 3], keepdims=True)
    span = tf.reduce_max(resized, axis=[1, 2, 3], keepdims=True) - low
    if scoring != "paper":
        return resized / tf.where(span > 0, span, 1.0)
    return tf.math.divide_no_nan(resized - low, span)


def scale_heat(heat: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Divide each map of non-negative heat (b, fh, fw) by its maximum; return heat and maxima (b,).

    A map that is zero, flat (to a relative 1e-5) or not finite becomes zero with maximum zero.
    """
    top = tf.reduce_max(heat, axis=[1, 2])
    low = tf.reduce_min(heat, axis=[1, 2])
    finite = tf.reduce_all(tf.math.is_finite(heat), axis=[1, 2])
    good = finite & (top > 0) & (top - low > FLAT * top)
    scaled = heat / tf.where(good, top, 1.0)[:, None, None]
    return tf.where(good[:, None, None], scaled, 0.0), tf.where(good, top, 0.0)


def all_finite(images: tf.Tensor) -> tf.Tensor:
    """Return whether each of (b, rows, columns, channels) holds only finite numbers: (b,) bool."""
    return tf.reduce_all(tf.math.is_finite(images), axis=[1, 2, 3])


def class_score(outputs: tf.Tensor, target: tf.Tensor, scoring: Scoring) -> tf.Tensor:
    """Return the score of each `target` (n,) in outputs (n, classes), as `scoring` defines it: (n,)."""
    outputs = tf.cast(outputs, tf.float32)
    if scoring != "paper":
        outputs = tf.nn.softmax(outputs)
    return tf.gather(outputs, target, batch_dims=1)


def _size(tensor: tf.Tensor, axis: int) -> int | tf.Tensor:
    """Return the length along `axis`: a number where the trace knows it, else a scalar tensor."""
    return tensor.shape[axis] if tensor.shape[axis] is not None else tf.shape(tensor)[axis]


def _in_chunks(
    score: Callable[[tf.Tensor], tf.Tensor], total: int | tf.Tensor, chunk: int | None
) -> tf.Tensor:
    """Call `score` on rows 0..total-1, at most `chunk` at a time, in chunks of equal size; return (total,).

    Equal sizes need one trace and one convolution plan; the last chunk repeats the last row.
    """
    if chunk is None or (isinstance(total, int) and total <= chunk):
        return score(tf.range(total))
    count = -(-total // chunk)
    size = -(-total // count)
    rows = tf.reshape(tf.minimum(tf.range(count * size), total - 1), [count, size])
    weights = tf.map_fn(score, rows, fn_output_signature=tf.float32, parallel_iterations=1)
    return tf.reshape(weights, [-1])[:total]
