"""A network as TensorFlow functions without variables, which every backend can take.

Needs TensorFlow and Keras, and seconds; what the backends make of the functions is cached (`artifact_cache`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from monitor.explain.score_cam import Scoring, upsampled_masks
from monitor.inference.backends.base import GRAPHS
from monitor.models.card import ModelCard
from monitor.models.preprocessing import preprocess_tf
from monitor.models.screening import Screening

Policy = Literal["float32", "mixed_float16", "mixed_bfloat16"]
"""Of Keras: in which type the layers compute. The last one stays in float32."""


def build_model_graphs(
    card: ModelCard, model: Any, *, step: int, scoring: Scoring, policy: Policy = "float32"
) -> Mapping[str, Any]:
    """Build the graphs of a bundle's `model`; the other arguments as for `build_graphs`."""
    return build_graphs(
        model,
        layer=card.cam_layer,
        defect_index=card.defect_class,
        preprocess=partial(preprocess_tf, card),
        step=step,
        scoring=scoring,
        policy=policy,
    )


def build_graphs(
    model: Any,
    *,
    layer: str,
    defect_index: int,
    preprocess: Callable[[Any], Any],
    step: int,
    scoring: Scoring,
    policy: Policy = "float32",
) -> Mapping[str, Any]:
    """Build the graphs of a Keras classifier: concrete functions with the inputs and outputs of `GRAPHS`.

    `classify`: images (b, h, w, 3) uint8 to scores (b,), features (b, c) and activations (b, fh, fw, c). To
    explain an image (1, h, w, 3), `mask_inputs` lays `step` maps (step, fh, fw) over it; `score_maps` gives
    the weights (step,) of these.

    `model` ends in probabilities (n, classes); `layer` names the 4-D layer that is explained; `defect_index`
    is the class whose score counts; `preprocess` maps uint8 images (n, h, w, 3) in blue-green-red to the
    network's input. `model` stays as it is.
    """
    network = without_variables(optimize_network(model, layer, policy), layer)
    size = model.input_shape[1:]

    def forward(inputs: Any) -> Any:
        return tf.cast(network(inputs)[1], tf.float32)

    blank = tf.zeros(preprocess(tf.zeros((1, *size), tf.uint8)).shape)
    baseline = float(forward(blank)[0, defect_index]) if scoring == "paper" else 0.0

    def classify(images: Any) -> Mapping[str, Any]:
        activations, probabilities = network(preprocess(images))
        activations = tf.cast(activations, tf.float32)
        features = tf.reduce_mean(activations, axis=(1, 2))
        scores = tf.cast(probabilities[:, defect_index], tf.float32)
        return {"scores": scores, "features": features, "activations": activations}

    def mask_inputs(images: Any, maps: Any) -> Mapping[str, Any]:
        inputs = tf.cast(preprocess(images), tf.float32)
        return {"masked": inputs * upsampled_masks(maps, tf.shape(inputs)[1:], scoring)}

    def score_maps(masked: Any) -> Mapping[str, Any]:
        outputs = forward(masked)
        outputs = outputs if scoring == "paper" else tf.nn.softmax(outputs)
        # A plain slice: OpenVINO's gather fails in bfloat16.
        return {"weights": outputs[:, defect_index] - baseline}

    cells = model.get_layer(layer).output.shape[1:3]
    image, maps = tf.TensorSpec((1, *size), tf.uint8), tf.TensorSpec((step, *cells))
    graphs: Mapping[str, tuple[Callable[..., Any], list[Any]]] = {
        "classify": (classify, [tf.TensorSpec((None, *size), tf.uint8)]),
        "mask_inputs": (mask_inputs, [image, maps]),
        "score_maps": (score_maps, [tf.TensorSpec((step, *blank.shape[1:]))]),
    }
    return {
        name: tf.function(function, autograph=False).get_concrete_function(
            *(
                tf.TensorSpec(spec.shape, spec.dtype, name=known)
                for spec, known in zip(specs, GRAPHS[name].inputs, strict=True)
            )
        )
        for name, (function, specs) in graphs.items()
    }


def build_screening(model: Any, screening: Screening, preprocess: Callable[[Any], Any]) -> Any:
    """Build the graph by which an early exit answers: images (b, h, w, 3) to scores and distances (b,).

    `distances` are in units of the limit of familiarity. Beyond it, and where it is not a number, the score
    is 1: the input is not clearly good.
    """
    network = optimize_network(model, screening.layer)
    trunk = without_variables(
        keras.Model(network.input, network.get_layer(screening.layer).output), screening.layer
    )
    weights = [
        (tf.constant(kernel), tf.constant(bias))
        for kernel, bias in zip(screening.kernels, screening.biases, strict=True)
    ]
    detector = screening.familiarity

    def screen(images: Any) -> Mapping[str, Any]:
        maps = tf.cast(trunk(preprocess(images))[0], tf.float32)
        scores = tf.sigmoid(tf.reduce_max(exit_logits(maps, weights), axis=(1, 2)))
        means = tf.math.log1p(tf.reduce_mean(maps, axis=(1, 2)))
        white = tf.matmul(means - detector.mean, detector.whitening)
        distances = tf.sqrt(tf.reduce_mean(tf.square(white), axis=1)) / np.float32(detector.limit)
        is_sure = tf.logical_and(distances <= 1, scores <= 1)  # false for what is not a number
        return {"scores": tf.where(is_sure, scores, 1.0), "distances": distances}

    images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="images")
    return tf.function(screen, autograph=False).get_concrete_function(images)


def exit_logits(maps: Any, weights: Sequence[tuple[Any, Any]]) -> Any:
    """Return the logits (b, rows, columns) of a defect by the convolutions of an early exit.

    They read `maps` (b, h, w, c); `weights` are pairs of kernel and bias. The first one has stride 2. The
    second one also reads the first one's means, so that it can compare a cell with the whole image.
    """
    for index, (kernel, bias) in enumerate(weights):
        maps = tf.nn.conv2d(maps, kernel, 1 if index else 2, "SAME") + bias
        if index < len(weights) - 1:
            maps = tf.nn.relu(maps)
        if index == 0:
            means = tf.reduce_mean(maps, axis=(1, 2), keepdims=True)
            maps = tf.concat([maps, tf.broadcast_to(means, tf.shape(maps))], axis=-1)
    return maps[..., 0]


def without_variables(model: Any, layer: str) -> Callable[[Any], tuple[Any, Any]]:
    """Return a function with constant weights from inputs to the outputs of `layer` and of `model`."""
    both = keras.Model(model.inputs, [model.get_layer(layer).output, model.output])
    trainable = [variable.numpy() for variable in both.trainable_variables]
    others = [variable.numpy() for variable in both.non_trainable_variables]

    def forward(inputs: Any) -> tuple[Any, Any]:
        outputs, _ = both.stateless_call(
            [tf.constant(value) for value in trainable],
            [tf.constant(value) for value in others],
            inputs,
            training=False,
        )
        return outputs[0], outputs[1]

    return forward


def optimize_network(model: Any, layer: str, policy: Policy = "float32") -> Any:
    """Copy `model` with its batch normalisations folded into the convolutions before them.

    A convolution that `layer` names, or that something else reads too, is left alone. In a mixed `policy` the
    layers compute in a half-precision type, but for the last, whose softmax stays in float32.
    """
    folded = _foldable(model, layer)
    last = model.layers[-1].name

    def copy(original: Any) -> Any:
        dtype = "float32" if original.name == last else policy
        if original.name in folded:
            return keras.layers.Identity(name=original.name, dtype=dtype)
        return type(original).from_config({**original.get_config(), "dtype": dtype})

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        return layer(*args) if layer.name in folded else layer(*args, **options)

    network = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for original in model.layers:
        if original.weights and original.name not in folded:
            network.get_layer(original.name).set_weights(original.get_weights())
    for norm, conv in folded.items():
        network.get_layer(conv).set_weights(_fold(model.get_layer(conv), model.get_layer(norm)))
    return network


def _foldable(model: Any, layer: str) -> Mapping[str, str]:
    """Names of batch normalisations, with the convolution that each can be folded into."""
    readers: dict[int, int] = {}
    for operation in model.operations:
        read = getattr(operation, "input", [])
        for tensor in read if isinstance(read, list) else [read]:
            readers[id(tensor)] = readers.get(id(tensor), 0) + 1
    makers = {id(each.output): each for each in model.layers if not isinstance(each.output, list)}
    found = {}
    for norm in model.layers:
        if type(norm) is not keras.layers.BatchNormalization or norm.axis not in (-1, 3):
            continue
        conv: Any = makers.get(id(norm.input))
        alone = readers[id(norm.input)] == 1 and all(norm.input is not output for output in model.outputs)
        plain = (
            type(conv) is keras.layers.Conv2D
            and conv.activation is keras.activations.linear
            and conv.use_bias
        )
        if plain and alone and layer not in (conv.name, norm.name):
            found[norm.name] = conv.name
    return found


def _fold(conv: Any, norm: Any) -> list[Any]:
    """Kernel and bias of a convolution that also does what the normalisation behind it does."""
    mean, variance = (np.float64(each.numpy()) for each in (norm.moving_mean, norm.moving_variance))
    gamma = np.float64(norm.gamma.numpy()) if norm.scale else np.ones_like(mean)
    beta = np.float64(norm.beta.numpy()) if norm.center else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    kernel, bias = (np.float64(weights) for weights in conv.get_weights())
    return [kernel * factor, (bias - mean) * factor + beta]
