"""The network as frozen graphs that any runtime can take.

Needs TensorFlow and Keras, and seconds; what is made here is kept (`cache.py`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from monitor.explain.score_cam import Scoring, all_finite, map_std, scale_heat, score_cam, upsampled_masks
from monitor.inference.backends.base import GRAPHS, GraphSignature
from monitor.inference.backends.tensorflow import optimize_graph
from monitor.models.card import ModelCard
from monitor.models.preprocessing import preprocess_tf


def build_model_graphs(
    card: ModelCard,
    model: Any,
    *,
    max_n: int,
    step: int,
    scoring: Scoring,
    float16: bool = False,
    whole: bool = False,
) -> dict[str, bytes]:
    """The graphs of a bundle's `model`; the others as for `portable_graphs`."""
    return build_graphs(
        model,
        layer=card.cam_layer,
        defect_index=card.defect_class,
        preprocess=partial(preprocess_tf, card),
        max_n=max_n,
        step=step,
        scoring=scoring,
        half=float16,
        whole=whole,
    )


def build_graphs(
    model: Any,
    *,
    layer: str,
    defect_index: int,
    preprocess: Callable[[Any], Any],
    max_n: int,
    step: int,
    scoring: Scoring,
    half: bool = False,
    whole: bool = False,
) -> dict[str, bytes]:
    """The graphs of a Keras classifier, each a GraphDef whose ends are named as in `runtime.GRAPHS`.

    `classify`: pictures (b, h, w, 3) uint8 to scores (b,), features (b, c) and activations (b, fh, fw, c).
    To explain a picture, `choose` gives the `max_n` leading maps (n, fh, fw) and the prepared input; `mask`
    lays `step` of the maps, from map `start` (1,) on, over it; `weigh` gives the weights (step,) of these;
    `combine` makes heat (1, fh, fw), 0..1, and its peak before scaling (1,) of maps and weights. `whole`,
    if asked for, is all that in one batch.

    `model` ends in probabilities (n, classes); `layer` names the 4-D layer that is explained; `defect_index`
    is the class whose score counts; `prepare` maps uint8 pictures (n, h, w, 3) in blue-green-red to the
    network's input. `half` computes in float16 and keeps float32 where sums are long. `model` stays as it is.
    """
    folded = fold_batch_norm(model, layer)
    network = to_mixed_float16(folded) if half else folded
    both = keras.Model(network.inputs, [network.get_layer(layer).output, network.output])
    size, (rows, columns, channels) = model.input_shape[1:], both.outputs[0].shape[1:]
    count = min(max_n, channels)

    def forward(inputs: Any) -> Any:
        return tf.cast(network(inputs, training=False), tf.float32)

    blank = tf.zeros(preprocess(tf.zeros((1, *size), tf.uint8)).shape)
    baseline = float(forward(blank)[0, defect_index]) if scoring == "paper" else 0.0

    def classify(pictures: Any) -> tuple[Any, Any, Any]:
        activations, probabilities = both(preprocess(pictures), training=False)
        activations = tf.cast(activations, tf.float32)
        features = tf.reduce_mean(activations, axis=(1, 2))
        return tf.cast(probabilities[:, defect_index], tf.float32), features, activations

    def choose(pictures: Any, activations: Any) -> tuple[Any, Any]:
        inputs = tf.cast(preprocess(pictures), tf.float32)
        leading = tf.math.top_k(map_std(activations)[0], k=count).indices
        maps = tf.gather(tf.transpose(activations[0], [2, 0, 1]), leading)
        sound = all_finite(inputs) & all_finite(activations)
        return tf.where(sound[:, None, None], maps, 0.0), inputs

    def mask(maps: Any, inputs: Any, start: Any) -> tuple[Any]:
        chosen = tf.gather(maps, tf.minimum(start + tf.range(step), count - 1))
        return (inputs * upsampled_masks(chosen, tf.shape(inputs)[1:], scoring),)

    def weigh(masked: Any) -> tuple[Any]:
        said = forward(masked)
        said = tf.nn.softmax(said) if scoring == "seed" else said
        return (said[:, defect_index] - baseline,)  # a plain slice: OpenVINO's gather fails in bfloat16

    def combine(maps: Any, weights: Any) -> tuple[Any, Any]:
        heat = tf.nn.relu(tf.reduce_sum(weights[:, None, None] * maps, axis=0))
        return scale_heat(heat[None])

    def at_once(pictures: Any, activations: Any) -> tuple[Any, Any]:
        target = tf.fill([1], defect_index)
        return score_cam(
            forward, preprocess(pictures), activations, target, max_n=max_n, scoring=scoring, chunk=None
        )

    picture, kept = tf.TensorSpec((1, *size), tf.uint8), tf.TensorSpec((1, rows, columns, channels))
    maps, inputs = tf.TensorSpec((count, rows, columns)), tf.TensorSpec(blank.shape)
    graphs: list[tuple[str, Callable[..., Any], list[Any]]] = [
        ("classify", classify, [tf.TensorSpec((None, *size), tf.uint8)]),
        ("choose", choose, [picture, kept]),
        ("mask", mask, [maps, inputs, tf.TensorSpec((1,), tf.int32)]),
        ("weigh", weigh, [tf.TensorSpec((step, *blank.shape[1:]))]),
        ("combine", combine, [maps, tf.TensorSpec((count,))]),
    ]
    if whole:
        graphs.append(("whole", at_once, [picture, kept]))
    return {name: _freeze(function, GRAPHS[name], *specs) for name, function, specs in graphs}


def fold_batch_norm(model: Any, layer: str) -> Any:
    """A copy of `model` whose convolutions do what the batch normalisation behind each of them did.

    The normalisations stay, as multiplications by one and additions of zero, which every runtime drops.
    A convolution that `layer` names, or that something else reads too, is left alone.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    readers: dict[int, int] = {}
    for operation in copy.operations:
        for tensor in _inputs(operation):
            readers[id(tensor)] = readers.get(id(tensor), 0) + 1
    makers = {
        id(operation.output): operation for operation in copy.layers if not isinstance(operation.output, list)
    }
    for norm in copy.layers:
        if type(norm) is not keras.layers.BatchNormalization or norm.axis not in (-1, 3):
            continue
        conv: Any = makers.get(id(norm.input))
        alone = readers[id(norm.input)] == 1 and all(norm.input is not output for output in copy.outputs)
        plain = (
            type(conv) is keras.layers.Conv2D
            and conv.activation is keras.activations.linear
            and conv.use_bias
        )
        if plain and alone and conv.name != layer:
            _fold(conv, norm)
    return copy


def _inputs(operation: Any) -> list[Any]:
    given = getattr(operation, "input", [])
    return given if isinstance(given, list) else [given]


def _fold(conv: Any, norm: Any) -> None:
    mean, variance = _values(norm.moving_mean), _values(norm.moving_variance)
    gamma = _values(norm.gamma) if norm.scale else np.ones_like(mean)
    beta = _values(norm.beta) if norm.center else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    conv.kernel.assign(_values(conv.kernel) * factor)
    conv.bias.assign((_values(conv.bias) - mean) * factor + beta)
    norm.moving_mean.assign(np.zeros_like(mean))
    norm.moving_variance.assign(np.full_like(mean, 1) - norm.epsilon)
    if norm.scale:
        norm.gamma.assign(np.ones_like(mean))
    if norm.center:
        norm.beta.assign(np.zeros_like(mean))


def _values(variable: Any) -> Any:
    return variable.numpy().astype(np.float64)


def to_mixed_float16(model: Any) -> Any:
    """The same network computing in float16 with float32 variables; the softmax stays in float32."""
    last = model.layers[-1].name

    def converted(layer: Any) -> Any:
        policy = "float32" if layer.name == last else "mixed_float16"
        return layer.__class__.from_config({**layer.get_config(), "dtype": policy})

    clone = keras.models.clone_model(model, clone_function=converted)
    clone.set_weights(model.get_weights())
    return clone


def _freeze(function: Callable[..., Any], signature: GraphSignature, *specs: Any) -> bytes:
    """`function` traced for `specs`, its variables made constants, its ends named, simplified."""
    traced = tf.function(function, autograph=False).get_concrete_function(*specs)
    frozen = convert_variables_to_constants_v2(traced)
    with tf.Graph().as_default() as named:
        inputs = [
            tf.compat.v1.placeholder(spec.dtype, spec.shape, name=name)
            for spec, name in zip(specs, signature.inputs, strict=True)
        ]
        outputs = tf.import_graph_def(
            frozen.graph.as_graph_def(),
            input_map={tensor.name: given for tensor, given in zip(frozen.inputs, inputs, strict=True)},
            return_elements=[tensor.name for tensor in frozen.outputs],
            name="network",
        )
        for tensor, name in zip(outputs, signature.outputs, strict=True):
            tf.identity(tensor, name=name)
    definition = named.as_graph_def()
    for node in list(definition.node):  # the ends that the new ones replace would count as further inputs
        if node.op == "Placeholder" and node.name not in signature.inputs:
            definition.node.remove(node)
    return optimize_graph(definition.SerializeToString(), signature)
