"""The file of a network: Keras reads it, and nothing in it is run."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from monitor.errors import ModelError, first_line
from monitor.models.card import ModelCard

_ALLOWED_MODULES = (
    "keras",
    "keras.layers",
    "keras.initializers",
    "keras.src.models.functional",
    "keras.models",
)
"""Modules whose classes a model file may name; Keras would import any other."""


def load_network(path: Path, content: bytes, card: ModelCard) -> Any:
    """Load the network (a `keras.Model`) in `content`, the file at `path`, which must fit `card`.

    Raises `ModelError`.
    """
    _reject_foreign_code(path, content)
    import keras  # noqa: PLC0415 (seconds that reading a card should not cost)

    # Keras reads by name; a private copy of the checked bytes cannot change under it.
    with tempfile.NamedTemporaryFile(suffix=".keras") as private:
        private.write(content)
        private.flush()
        try:
            model = keras.saving.load_model(private.name, compile=False, safe_mode=True)
        except Exception as error:  # whatever a broken file makes Keras raise
            raise ModelError(f"the model file {path} cannot be loaded: {first_line(error)}") from error
    return _verify_architecture(model, card, path)


def _reject_foreign_code(path: Path, content: bytes) -> None:
    """Raise unless the network in `content` is made of Keras' own layers alone, without code inside."""
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            config = json.loads(archive.read("config.json"))
    except (
        BadZipFile,
        KeyError,
        ValueError,
        OSError,
        EOFError,
        NotImplementedError,
        RecursionError,
    ) as error:
        raise ModelError(f"{path} is not a Keras model file: {first_line(error)}") from error
    pending = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending += part
        elif isinstance(part, dict):
            pending += part.values()
            module = part.get("module")
            if part.get("class_name") == "Lambda" or (
                "module" in part and module not in (*_ALLOWED_MODULES, None)
            ):
                named = f"{module}.{part.get('class_name')}"
                raise ModelError(f"{path} is refused: it would run code of its own ({named})")


def _verify_architecture(model: Any, card: ModelCard, path: Path) -> Any:
    """Return `model` if it has the input, the outputs and the layer that its card names."""
    expected = (None, card.input_height, card.input_width, 3), (None, len(card.classes))
    if (model.input_shape, model.output_shape) != expected:
        raise ModelError(
            f"{path} does not fit its card: it maps {model.input_shape} to {model.output_shape}, "
            f"the card says {expected[0]} to {expected[1]}"
        )
    if card.cam_layer not in {layer.name for layer in model.layers}:
        raise ModelError(f"{path} does not fit its card: it has no layer {card.cam_layer}")
    return model
