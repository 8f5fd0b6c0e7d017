"""Guided backpropagation: the gradient at the input, let through each ReLU only where it is positive too.

Springenberg et al. 2014 (arXiv 1412.6806), section 3.4: R_l = (x_l > 0) · (R_{l+1} > 0) · R_{l+1}.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from monitor.explain.layers import Network, operations


def guided_network(network: Network) -> Network:
    """Copy a network with guided ReLUs, weights included.

    The given model is not touched. With no ReLU the copy gives the plain gradient.
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
    guided = Network(model, network.layer, network.given_head)
    functions = {
        id(operation): guided_relu(6.0 if type(operation).__name__ == "Relu6" else None)
        for operation in operations(model)
        if type(operation).__name__ in {"Relu", "Relu6"}  # keras.ops.relu called as a function
    }
    guided.replace(functions)
    return guided


def guided_gradients(guided: Network, x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Gradient (b, h, w, d) of the target class's score before softmax with respect to x (b, h, w, d)."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        _, logits = guided.run(x)
        score = tf.gather(guided.class_logits(logits), target, batch_dims=1)
    return tape.gradient(score, x)


def saliency(gradients: tf.Tensor) -> tf.Tensor:
    """Collapse gradients (b, h, w, d) to (b, h, w): the largest magnitude over the channels.

    Simonyan et al. 2013 (arXiv 1312.6034), section 3.1.
    """
    return tf.reduce_max(tf.abs(gradients), axis=-1)


def guided_relu(limit: float | None) -> Callable[[tf.Tensor], tf.Tensor]:
    """Make a ReLU, cut at `limit` if given, that passes only positive gradients back."""

    def relu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        value = tf.nn.relu(x) if limit is None else tf.clip_by_value(x, 0, limit)
        open_ = x > 0 if limit is None else (x > 0) & (x < limit)

        def backward(upstream: tf.Tensor) -> tf.Tensor:
            return tf.where(open_ & (upstream > 0), upstream, tf.zeros_like(upstream))

        return value, backward

    guided: Callable[[tf.Tensor], tf.Tensor] = tf.custom_gradient(relu)
    return guided
