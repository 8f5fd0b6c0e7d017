"""Read the arrays of a bundle from the bytes of an .npz file."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError


@contextmanager
def open_arrays(content: bytes, part: str) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open the file; nothing in it is run. What fails until it is closed is a `ModelError` of this `part`."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            yield arrays
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise ModelError(f"the model's {part} cannot be read: {error}") from error
