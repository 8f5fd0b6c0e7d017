"""The network: ResNet50 cut after its third stage, with a small head, as a Keras model."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import keras
import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.models.bundle import load_bundle

CAM_LAYER = "act_last"
"""The last convolutional activation, from which explanations are made."""


OUTPUT_LAYER = "dense_out"
"""The last layer, which turns averages of the last activation into scores."""


CAM_STRIDE = 8
"""Pixels of the input from one cell of `act_last` to the next."""


CELL_OFFSET = (0.0, 0.0)
"""(x, y) of the input pixel at the centre of cell (0, 0) of `act_last`.

Every convolution of ResNet50 is centred, and each of its three halvings keeps the first of two pixels,
so cell (i, j) lies at pixel (8j, 8i). Plain resizing of the map would put it at (8j + 3.5, 8i + 3.5).
"""


CHANNEL_MEAN = (103.939, 116.779, 123.68)
"""ImageNet's mean of blue, green and red on a scale of 0..255, which the start weights were trained with."""


def truncated_resnet50(classes: int = 2, size: tuple[int, int] = (224, 224)) -> keras.Model:
    """Build the network of the article, weights at random.

    ResNet50 (He et al. 2015, arXiv 1512.03385) up to `conv3_block4_add`, then ReLU (`act_last`), the
    average over all positions (`pool_last`) and a dense layer (`dense_out`) with softmax.

    `size` is (height, width), multiples of 8. Input: float32 (b, height, width, 3), blue, green and red,
    `CHANNEL_MEAN` subtracted. `act_last`: (b, height / 8, width / 8, 512), 0 or more. Output: (b, classes),
    0..1, sums to 1.
    """
    height, width = size
    whole = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(height, width, 3))
    features = keras.layers.ReLU(name=CAM_LAYER)(whole.get_layer("conv3_block4_add").output)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool_last")(features)
    scores = keras.layers.Dense(classes, activation="softmax", name=OUTPUT_LAYER)(pooled)
    return keras.Model(whole.input, scores, name="truncated_resnet50")


def initial_model(init: str, size: tuple[int, int]) -> keras.Model:
    """Build the network for inputs of `size` (height, width) with the weights that `init` names.

    `none`, `imagenet`, an .npz of start weights, or the folder of a bundle. Raises `ModelError`.
    """
    model = truncated_resnet50(size=size)
    if init == "imagenet":
        load_imagenet_weights(model)
    elif init != "none":
        path = Path(init)
        if path.is_dir():
            _copy_weights(load_bundle(path).keras_model(), model, path)
        else:
            load_initial_weights(model, path)
    return model


def _copy_weights(source: keras.Model, target: keras.Model, path: Path) -> None:
    weights = source.get_weights()
    if [value.shape for value in weights] != [value.shape for value in target.get_weights()]:
        raise ModelError(f"the model at {path} is not the network that is trained here")
    target.set_weights(weights)


def load_initial_weights(model: keras.Model, weights: Path) -> None:
    """Load the convolutions and batch norms of `model` from an .npz file; `dense_out` is not changed.

    Keys are `<layer name>/<index>`, in the order of `layer.set_weights`. Raises `ModelError` where the file
    cannot be read, lacks an array, or holds one of another shape.
    """
    try:
        with weights.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, BadZipFile, EOFError, AttributeError) as error:
        raise ModelError(f"start weights {weights} cannot be read as an .npz file: {error}") from error
    _set_weights(model, arrays, str(weights))


def load_imagenet_weights(model: keras.Model) -> None:
    """Load the ImageNet weights that Keras downloads; raises `ModelError` where it cannot."""
    try:
        whole = keras.applications.ResNet50(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception for a failed download
        raise ModelError(
            f"Keras could not download the ImageNet weights of ResNet50: {error}; "
            "give a local .npz file with --init, or --init none"
        ) from error
    arrays = {
        f"{layer.name}/{index}": value
        for layer in whole.layers
        for index, value in enumerate(layer.get_weights())
    }
    _set_weights(model, arrays, "Keras' ImageNet weights")


def _set_weights(model: keras.Model, arrays: Mapping[str, NDArray[np.float32]], origin: str) -> None:
    for layer in model.layers:
        expected = [weight.shape for weight in layer.weights]
        if not expected or layer.name == OUTPUT_LAYER:
            continue
        found = [arrays.get(f"{layer.name}/{index}") for index in range(len(expected))]
        values = [value for value in found if value is not None]
        if [value.shape for value in values] != expected:
            raise ModelError(
                f"{origin} does not fit the network: layer {layer.name} needs arrays of shapes {expected}, "
                f"found {[value.shape for value in values]}"
            )
        layer.set_weights(values)
