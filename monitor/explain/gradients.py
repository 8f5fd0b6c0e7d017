"""Compute Grad-CAM and Grad-CAM++: maps weighted by the gradient of the class score. Pure TensorFlow.

`activations` A and `gradients` g = ∂y/∂A are (b, fh, fw, c) float32, y being the target class's score before
softmax or sigmoid. Both return the rectified heat (b, fh, fw), not scaled.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from monitor.explain.instrumented import InstrumentedModel, operations


def grad_cam(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Compute Grad-CAM after Selvaraju et al. 2017 (arXiv 1610.02391).

    α_k = mean_ij g_ijk;  L = ReLU(Σ_k α_k A_k)
    """
    weights = tf.reduce_mean(gradients, axis=[1, 2], keepdims=True)  # (b, 1, 1, c)
    return tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))


def grad_cam_plus_plus(activations: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """Compute Grad-CAM++ after Chattopadhyay et al. 2018 (arXiv 1710.11063), class score Y = exp(y).

    α_ijk = g² / (2 g² + Σ_ab A_abk g³), zero where g is zero
    w_k = Σ_ij α_ijk ReLU(exp(y) g_ijk);  L = ReLU(Σ_k w_k A_k)
    The factor exp(y) is one positive number for the whole map. It is omitted: it can overflow, and scaling
    the map cancels it.
    """
    square = tf.square(gradients)
    total = tf.reduce_sum(activations, axis=[1, 2], keepdims=True)  # (b, 1, 1, c)
    alpha = tf.math.divide_no_nan(square, 2 * square + total * square * gradients)
    weights = tf.reduce_sum(alpha * tf.nn.relu(gradients), axis=[1, 2], keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * activations, axis=-1))


def guided_network(network: InstrumentedModel) -> InstrumentedModel:
    """Copy a network with guided ReLUs, weights included.

    The given model is not changed. Without a ReLU the copy yields the plain gradient.
    """

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.ReLU) and not (config["negative_slope"] or config["threshold"]):
            return keras.layers.Activation(guided_relu(config["max_value"]), name=layer.name)
        copy = type(layer).from_config(config)
        limits = {keras.activations.relu: None, keras.activations.relu6: 6.0}
        activation = getattr(layer, "activation", None)
        if activation in limits:
            copy.activation = guided_relu(limits[activation])
        return copy

    model = keras.models.clone_model(network.model, clone_function=clone, recursive=True)
    model.set_weights(network.model.get_weights())
    guided = InstrumentedModel(model, network.layer, network.given_head)
    functions = {
        id(operation): guided_relu(6.0 if type(operation).__name__ == "Relu6" else None)
        for operation in operations(model)
        if type(operation).__name__ in {"Relu", "Relu6"}  # keras.ops.relu called as a function
    }
    guided.substitute(functions)
    return guided


def guided_gradients(guided: InstrumentedModel, x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Return the gradient (b, h, w, d) of the target class's score before softmax by x (b, h, w, d)."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        _, logits = guided.forward(x)
        score = tf.gather(guided.class_logits(logits), target, batch_dims=1)
    return tape.gradient(score, x)


def saliency(gradients: tf.Tensor) -> tf.Tensor:
    """Reduce gradients (b, h, w, d) to (b, h, w): the largest magnitude over the channels.

    Simonyan et al. 2013 (arXiv 1312.6034), section 3.1.
    """
    return tf.reduce_max(tf.abs(gradients), axis=-1)


def guided_relu(limit: float | None) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a ReLU, clipped at `limit` if given, that propagates only positive gradients back."""

    def relu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        value = tf.nn.relu(x) if limit is None else tf.clip_by_value(x, 0, limit)
        open_ = x > 0 if limit is None else (x > 0) & (x < limit)

        def backward(upstream: tf.Tensor) -> tf.Tensor:
            return tf.where(open_ & (upstream > 0), upstream, tf.zeros_like(upstream))

        return value, backward

    guided: Callable[[tf.Tensor], tf.Tensor] = tf.custom_gradient(relu)
    return guided
