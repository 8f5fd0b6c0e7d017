"""What is explained: a Keras model with the way from an image to its input.

From a model file, or one of `keras.applications` by name.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError, UsageError, first_line
from monitor.explain.heatmap import upsample
from monitor.explain.instrumented import check_classifier
from monitor.records import Box, Heatmap, Image

Preprocess = Literal["none", "unit", "tf", "torch", "caffe"]
"""`none`: red-green-blue 0..255; `unit`: 0..1; `tf`, `torch`, `caffe`: Keras' three modes for ImageNet."""


PREPROCESS: tuple[Preprocess, ...] = ("none", "unit", "tf", "torch", "caffe")


def whole_image(image: Image) -> Sequence[Box]:
    """Return the one part of an image that is explained undivided."""
    return [Box(0, 0, image.shape[1], image.shape[0])]


@dataclass(frozen=True, slots=True, eq=False)
class ExplainableModel:
    """A model and how an image becomes its input.

    `preprocess` maps one (h, w, 3) uint8 blue-green-red image to (1, h', w', d) float32. `classes` names the
    classes in the order of the outputs, empty where they are not known. `upsample` enlarges a layer's heat to
    (height, width) of the image: by the plain resize of the article, or to where the cells lie. `parts` names
    the parts of an image to explain, each by itself; the last one decides the image's class.
    """

    model: Any
    preprocess: Callable[[Image], NDArray[np.float32]]
    classes: tuple[str, ...] = ()
    layer: str | None = None
    upsample: Callable[[Heatmap, int, int], Heatmap] = upsample
    parts: Callable[[Image], Sequence[Box]] = whole_image

    def class_name(self, index: int) -> str:
        """Return the name of a class."""
        return self.classes[index] if index < len(self.classes) else f"class {index}"


def load_application(name: str, weights: Path | None = None) -> ExplainableModel:
    """Take a network of `keras.applications` with its ImageNet weights, or those in the file `weights`.

    Keras takes the ImageNet weights from its cache or downloads them. Raises `UsageError` for an unknown
    name and `ModelError` where there are no weights.
    """
    builders = _applications()
    if name not in builders:
        near = difflib.get_close_matches(name, builders, n=3, cutoff=0.4) or sorted(builders)[:3]
        raise UsageError(f"keras.applications has no {name!r}; nearest are {', '.join(near)}")
    build, module = builders[name]
    if weights is not None and not weights.is_file():
        raise ModelError(f"there is no weights file {weights}")
    try:
        model = build(weights=None if weights else "imagenet")
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise ModelError(
            f"the ImageNet weights of {name} are not in Keras' cache and could not be downloaded; "
            "give a file with --weights"
        ) from error
    if weights is not None:
        try:
            model.load_weights(weights)
        except Exception as error:  # whatever a foreign file makes Keras and h5py raise
            raise ModelError(
                f"the weights file {weights} does not fit {name}: {first_line(error, 200)}"
            ) from error
    return ExplainableModel(model, _preparer(model, module.preprocess_input))


def load_model_file(path: Path, preprocess: Preprocess | None = None) -> ExplainableModel:
    """Load a `.keras`, `.h5` or `.hdf5` file; no code in it is run. Raises `ModelError` and `UsageError`."""
    if not path.is_file():
        raise ModelError(f"there is no model file {path}")
    if preprocess is None:
        raise UsageError(
            f"state with --preprocess which input {path.name} takes: {', '.join(PREPROCESS)} "
            "(red-green-blue 0..255 is none, 0..1 is unit)"
        )
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a foreign or damaged file makes Keras raise
        old = path.suffix.lower() != ".keras"
        hint = "; if an older Keras reads it, save it again there in the .keras format" if old else ""
        raise ModelError(f"the model file {path} cannot be loaded: {first_line(error, 200)}{hint}") from error
    check_classifier(model)
    return ExplainableModel(model, _preparer(model, lambda x: _preprocessed(x, preprocess)))


def _preprocessed(x: NDArray[np.float32], how: Preprocess) -> NDArray[np.float32]:
    if how == "none":
        return x
    if how == "unit":
        return x / np.float32(255)
    return np.asarray(keras.applications.imagenet_utils.preprocess_input(x, mode=how), np.float32)


def _preparer(
    model: Any, preprocess: Callable[[NDArray[np.float32]], Any]
) -> Callable[[Image], NDArray[np.float32]]:
    """Return what resizes, reorders and preprocesses an image for `model`: three channels or one."""
    shape = tuple(model.inputs[0].shape)
    if shape[3] not in (1, 3):
        raise UsageError(f"the model takes {shape[3]} channels; an image has 3, or 1 as grey")

    def prepare(image: Image) -> NDArray[np.float32]:
        rows, columns = (shape[1] or image.shape[0], shape[2] or image.shape[1])
        shrinks = image.shape[0] >= rows and image.shape[1] >= columns
        fitted = cv2.resize(
            image, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        if shape[3] == 1:
            x = cv2.cvtColor(fitted, cv2.COLOR_BGR2GRAY)[..., None]
        else:
            x = cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB)
        return np.asarray(preprocess(x[None].astype(np.float32)), np.float32)

    return prepare


def _applications() -> dict[str, tuple[Callable[..., Any], Any]]:
    """Return every network of `keras.applications` by name: what builds it, and its module."""
    modules = [getattr(keras.applications, name) for name in dir(keras.applications)]
    return {
        name: (getattr(keras.applications, name), module)
        for module in modules
        if hasattr(module, "preprocess_input") and module is not keras.applications.imagenet_utils
        for name in dir(module)
        if name[0].isupper() and hasattr(keras.applications, name)
    }
