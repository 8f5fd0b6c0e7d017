"""Which processor the network runs on, and TensorFlow set up for it.

Written after TensorFlow's guide "Use a GPU"; the GPU half has been run against a stand-in only.
"""

import importlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from monitor.errors import DeviceError
from monitor.inference.backends.base import BackendName
from monitor.inference.precision import Precision

log = logging.getLogger(__name__)


_GPU_FILES = ("nvidia[0-9]*", "dxg", "kfd")
"""Of /dev, one of which a GPU that TensorFlow can use brings: NVIDIA's driver, WSL's, AMD's."""


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """What was taken: `kind` is `gpu` or `cpu`, `name` TensorFlow's, `description` a person's."""

    kind: Literal["gpu", "cpu"]
    name: str
    description: str
    precision: Precision
    runtime: BackendName = "tensorflow"


def select_device(wanted: str, precision: str, gpus: Sequence[str]) -> ComputeDevice:
    """The device for `wanted` (`auto`, `gpu`, `cpu`) among the names of the GPUs that TensorFlow sees.

    `precision` is `auto`, `fp32`, `bf16` or `mixed-float16`; what `auto` takes on a CPU is settled when the
    network is made ready (`ready.py`), `fp32` until then.
    Raises DeviceError if a GPU is wanted and none is there.
    """
    if wanted == "gpu" and not gpus:
        raise DeviceError(
            "device = \"gpu\", but TensorFlow sees no GPU: install the driver and 'defect-monitor[gpu]', "
            'or set device = "auto"'
        )
    on_gpu = bool(gpus) and wanted != "cpu"
    # On a CPU float16 is emulated and slower than single precision.
    taken: Precision = "fp32"
    if precision == "mixed-float16" or (precision == "auto" and on_gpu):
        taken = "mixed-float16"
    elif precision == "bf16":
        taken = "bf16"
    if on_gpu:
        return ComputeDevice("gpu", "/GPU:0", gpus[0], taken)
    why = "as asked" if wanted == "cpu" else "TensorFlow sees no GPU"
    return ComputeDevice("cpu", "/CPU:0", f"CPU ({why})", taken)


def has_gpu_files(devices: Path = Path("/dev")) -> bool:
    """Whether any GPU's device file is there; if not, TensorFlow need not be asked, which takes seconds."""
    return any(any(devices.glob(pattern)) for pattern in _GPU_FILES)


def configure_tensorflow(wanted: str, precision: str, threads: int, tensorflow: Any = None) -> ComputeDevice:
    """Choose a device and set TensorFlow up for it, before its first operation.

    A GPU's memory grows as it is needed, so that other programs keep theirs. `threads` 0 leaves
    TensorFlow's own choice. `tensorflow` is the module, or a stand-in for tests.
    """
    if tensorflow is None:
        tensorflow = import_tensorflow()  # seconds that no refused setting should cost
    gpus = tensorflow.config.list_physical_devices("GPU")
    device = select_device(wanted, precision, [gpu.name for gpu in gpus])
    try:
        if device.kind == "gpu":
            tensorflow.config.set_visible_devices(gpus[:1], "GPU")
            tensorflow.config.experimental.set_memory_growth(gpus[0], True)
        elif gpus:
            tensorflow.config.set_visible_devices([], "GPU")
        if threads:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as error:
        # TensorFlow refuses both once it has run anything; the daemon never does before this.
        raise DeviceError(f"TensorFlow was already in use and cannot be set up: {error}") from error
    log.info("device chosen", extra={"device": device.description, "precision": device.precision})
    return device


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


def make_deterministic() -> None:
    """Make TensorFlow give the same model for the same seed, at some cost in speed."""
    import tensorflow as tf  # noqa: PLC0415 (seconds that other commands should not cost)

    tf.config.experimental.enable_op_determinism()
