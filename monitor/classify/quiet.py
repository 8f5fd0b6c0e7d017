"""TensorFlow without its life story on standard error."""

import importlib
import os
from typing import Any


def import_tensorflow() -> Any:
    """Import TensorFlow; what goes wrong comes as an exception, the rest is kept from the terminal.

    Its libraries write some lines before they look at their log level, so descriptor 2 is turned away
    for as long as the import takes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        return importlib.import_module("tensorflow")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
