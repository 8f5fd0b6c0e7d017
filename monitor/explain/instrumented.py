"""Open a Keras classifier: list its layers through nested models, choose one, recognise its head.

This module runs a model operation by operation. So it can observe a layer inside a nested model, and skip the
head's activation, without building another model or changing the user's.
"""

import difflib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from monitor.errors import UsageError, first_line

Head = Literal["softmax", "sigmoid", "logits"]

HEADS: tuple[Head, ...] = ("softmax", "sigmoid", "logits")

_PASSTHROUGH = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Identity)


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """An operation of a model: `path` names it through nested models, such as `resnet50/conv5_block3_out`."""

    path: str
    operation: Any
    shape: tuple[int | None, ...]

    @property
    def is_spatial(self) -> bool:
        """Whether its output is (b, fh, fw, c) with more than one position."""
        return len(self.shape) == 4 and self.shape[1:3] != (1, 1)


def iter_layers(model: Any, prefix: str = "") -> Iterator[LayerInfo]:
    """Yield every operation of `model` in order of computation; a nested model follows its parts."""
    for operation in _graph(model).operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        path = prefix + operation.name
        if _is_traversable(operation):
            yield from iter_layers(operation, path + "/")
        output = operation.output
        shape = tuple(output.shape) if hasattr(output, "shape") else ()
        yield LayerInfo(path, operation, shape)


def choose_layer(model: Any, name: str | None = None) -> LayerInfo:
    """Find the layer to explain: the last one with spatial extent, or the one named.

    `name` is a path, or a bare name that is unique. Raises `UsageError`, with the nearest names where there
    is no such layer.
    """
    found = list(iter_layers(model))
    if name is None:
        maps = [info for info in found if info.is_spatial and not _is_traversable(info.operation)]
        if not maps:
            raise UsageError("the model has no layer with spatial extent (rows and columns) to explain")
        return maps[-1]
    named = [info for info in found if info.path == name]
    named = named or [info for info in found if info.path.rsplit("/", 1)[-1] == name]
    usable = [info.path for info in found if info.is_spatial]
    if not named:
        near = difflib.get_close_matches(name, usable, n=3, cutoff=0.4) or usable[-3:]
        hint = f"; nearest are {', '.join(near)}" if near else ""
        raise UsageError(f"the model has no layer {name!r}{hint}")
    if len(named) > 1:
        raise UsageError(f"several layers are called {name!r}: {', '.join(info.path for info in named)}")
    if not named[0].is_spatial:
        hint = f"; the last layer with them is {usable[-1]}" if usable else ""
        raise UsageError(f"layer {name!r} outputs {named[0].shape}, without rows and columns{hint}")
    return named[0]


class InstrumentedModel:
    """A classifier with one observed layer.

    `classes` is the number of classes, `shape` the input's (h, w, d) with None where any size fits, `layer`
    the path of the layer, `channels` the number of its maps, `head` the kind of output. One output unit
    with a sigmoid, or one logit, counts as two classes: 0 where the unit is low, 1 where it is high.
    """

    def __init__(self, model: Any, layer: str | None = None, head: Head | None = None) -> None:
        """Open `model` at `layer`; raises `UsageError` unless it is a single-input, single-output classifier.

        `head` overrides the recognised head; it is required where the last layers hide the activation.
        """
        check_classifier(model)
        self.model = model
        self._layer = choose_layer(model, layer)
        self.layer = self._layer.path
        self.channels = int(self._layer.shape[-1] or 0)
        self.shape: tuple[int | None, ...] = tuple(model.inputs[0].shape[1:])
        self._units = int(model.outputs[0].shape[-1])
        operation = None if head is not None else _head_operation(_graph(model).outputs[0])
        self.given_head = head
        self._substitutes: dict[int, Callable[..., Any]] = {}
        if operation is not None:
            head, bare = _without_activation(operation)
            self._substitutes[id(operation)] = bare
        if head not in HEADS:
            raise UsageError(f"the head {head!r} is none of {', '.join(HEADS)}")
        self.head: Head = head
        if self._units == 1 and head == "softmax":
            raise UsageError("the model ends in a softmax over one unit, which is always 1")
        self.classes = 2 if self._units == 1 else self._units

    def substitute(self, substitutes: Mapping[int, Callable[..., Any]]) -> None:
        """Call `substitutes[id(operation)]` in place of an operation from now on."""
        self._substitutes.update(substitutes)

    def forward(
        self, x: tf.Tensor, on_activation: Callable[[tf.Tensor], None] | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run inference on x (n, h, w, d); return the layer's output and logits (n, units), float32.

        `on_activation` receives the layer's output before the pass continues, for a gradient tape.
        """
        seen: list[tf.Tensor] = []

        def visit(operation: Any, output: tf.Tensor) -> None:
            if operation is self._layer.operation:
                if on_activation is not None:
                    on_activation(output)
                seen.append(output)

        output = keras.tree.flatten(_run_graph(self.model, x, self._substitutes, visit))[0]
        return seen[-1], self._to_logits(tf.cast(output, tf.float32))

    def verify(self) -> None:
        """Raise `UsageError` unless `forward` reproduces the model's scores on one random image."""
        rows, columns, channels = self.shape
        image = np.random.default_rng(0).uniform(0, 1, (1, rows or 64, columns or 64, channels or 3))
        x = tf.constant(image, tf.float32)
        try:
            own = np.asarray(keras.tree.flatten(self.model(x, training=False))[0], np.float32)
            logits = self.forward(x)[1]
        except Exception as error:  # whatever a foreign layer raises
            text = f"the model cannot be run layer by layer, which explaining needs: {first_line(error, 200)}"
            raise UsageError(text) from error
        activation = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid, "logits": tf.identity}[self.head]
        repeated = np.asarray(activation(logits), np.float32)
        if not np.allclose(repeated, own, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise UsageError(
                f"the model cannot be explained: with the head {self.head}, its scores are not reproduced; "
                "name the right head with --head (head= in Python)"
            )

    def class_logits(self, logits: tf.Tensor) -> tf.Tensor:
        """Return (n, classes) scores before softmax or sigmoid: the y^c whose gradients are computed."""
        return tf.concat([-logits, logits], axis=-1) if self._units == 1 else logits

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Apply softmax or sigmoid once: (n, classes), 0..1. A head of logits gets a softmax.

        One unit yields (1 - p, p), where p is its sigmoid.
        """
        if self._units == 1:
            return tf.concat([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=-1)
        return tf.sigmoid(logits) if self.head == "sigmoid" else tf.nn.softmax(logits)

    def outputs(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the model's own output, (n, classes), which scoring `seed` uses.

        A single logit z yields (0, z), whose softmax is its sigmoid.
        """
        if self.head != "logits":
            return self.probabilities(logits)
        return tf.concat([tf.zeros_like(logits), logits], axis=-1) if self._units == 1 else logits

    def _to_logits(self, output: tf.Tensor) -> tf.Tensor:
        """Return logits of an output whose activation is still applied, because the caller named the head."""
        if self.given_head == "softmax":
            return tf.math.log(tf.maximum(output, 1e-30))
        if self.given_head == "sigmoid":
            inside = tf.clip_by_value(output, 1e-7, 1 - 1e-7)
            return tf.math.log(inside) - tf.math.log1p(-inside)
        return output


def operations(model: Any) -> Iterator[Any]:
    """Yield every operation, nested ones included."""
    return (info.operation for info in iter_layers(model))


def _run_graph(
    model: Any,
    x: Any,
    substitutes: Mapping[int, Callable[..., Any]],
    visit: Callable[[Any, Any], None],
) -> Any:
    """Compute `model` on x like Keras' own functional call, entering nested models."""

    def stand_in(operation: Any) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if _is_traversable(operation):
                output = _run_graph(operation, args[0], substitutes, visit)
            else:
                if getattr(operation, "_call_has_training_arg", False):
                    kwargs["training"] = False
                output = substitutes.get(id(operation), operation)(*args, **kwargs)
            visit(operation, output)
            return output

        return call

    return _graph(model)._run_through_graph(x, operation_fn=stand_in)


def _graph(model: Any) -> Any:
    return model._functional if isinstance(model, keras.Sequential) else model


def _is_traversable(operation: Any) -> bool:
    """Return whether it is a nested model made of a graph of layers, without a custom `call`."""
    if isinstance(operation, keras.Sequential):
        return operation._functional is not None
    functional = _functional_class()
    return isinstance(operation, functional) and type(operation).call is functional.call


@functools.cache
def _functional_class() -> Any:
    """Return the class that `keras.Model(inputs, outputs)` makes, which has no public name."""
    inputs = keras.Input((1,))
    return type(keras.Model(inputs, inputs))


def check_classifier(model: Any) -> None:
    """Raise `UsageError` for a model that is no functional image classifier with one input and one output."""
    if not isinstance(model, keras.Model):
        raise UsageError(f"a Keras model is needed, not {type(model).__name__}")
    if isinstance(model, keras.Sequential) and not model.built:
        raise UsageError("the sequential model is not built yet: give it an Input layer or call it once")
    if not _is_traversable(model):
        raise UsageError("a subclassed model hides its layers; use a functional or sequential model")
    for what, tensors in (("inputs", model.inputs), ("outputs", model.outputs)):
        if len(tensors) != 1:
            raise UsageError(f"the model has {len(tensors)} {what}; an explanation needs one")
    taken, given = tuple(model.inputs[0].shape), tuple(model.outputs[0].shape)
    if len(taken) != 4:
        raise UsageError(f"the model takes {taken}, not images (batch, rows, columns, channels)")
    if len(given) != 2:
        raise UsageError(f"the model outputs {given}, not one score per class (batch, classes)")
    if keras.config.image_data_format() != "channels_last":
        raise UsageError("only models with channels last can be explained")


def _head_operation(tensor: Any) -> Any:
    """Find the operation that computes the scores `tensor`, through nested and pass-through layers."""
    operation, node, index = tensor._keras_history
    if _is_traversable(operation):
        return _head_operation(_graph(operation).outputs[index])
    passes_on = isinstance(operation, _PASSTHROUGH) or (
        isinstance(operation, keras.layers.Activation) and operation.activation is keras.activations.linear
    )
    return _head_operation(operation._inbound_nodes[node].input_tensors[0]) if passes_on else operation


def _without_activation(operation: Any) -> tuple[Head, Callable[..., Any]]:
    """Return the head's kind, and the operation without its activation."""
    bare_kinds: dict[str, Head] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
    if isinstance(operation, keras.layers.Softmax):
        return "softmax", _identity
    if not isinstance(operation, keras.Layer) and type(operation).__name__ in bare_kinds:
        return bare_kinds[type(operation).__name__], _identity  # keras.ops.softmax, called as a function
    activation = getattr(operation, "activation", None)
    kinds: dict[Any, Head] = {
        keras.activations.softmax: "softmax",
        keras.activations.sigmoid: "sigmoid",
        keras.activations.linear: "logits",
        keras.activations.log_softmax: "logits",  # their softmax yields the same probabilities
    }
    kind = kinds.get(activation) if activation is not None else None
    if kind is None:
        given = getattr(activation, "__name__", None)
        shown = type(operation).__name__ + (f", activation {given}" if given else "")
        raise UsageError(
            f"the model's last layer {operation.name!r} ({shown}) does not show whether its output is "
            "softmax, sigmoid or logits; name it with --head (head= in Python)"
        )
    if kind == "logits":
        return kind, operation
    if isinstance(operation, keras.layers.Activation):
        return kind, _identity
    linear = type(operation).from_config({**operation.get_config(), "activation": "linear"})
    linear.build(operation.input.shape)
    linear.set_weights(operation.get_weights())
    return kind, linear


def _identity(x: Any, **_: Any) -> Any:
    """Stand in for an activation; Keras may call it with a mask."""
    return x
