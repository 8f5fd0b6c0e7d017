"""Which processor runs the networks, and TensorFlow set up for it.

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

logger = logging.getLogger(__name__)


_GPU_FILES = ("nvidia[0-9]*", "dxg", "kfd")
"""Of /dev; a GPU that TensorFlow can use brings one of them: NVIDIA's driver, WSL's, AMD's."""


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """A selected processor: `name` is TensorFlow's, `description` is for people."""

    kind: Literal["gpu", "cpu"]
    name: str
    description: str
    precision: Precision
    runtime: BackendName = "tensorflow"


def select_device(requested: str, precision: str, gpus: Sequence[str]) -> ComputeDevice:
    """Select the device for `requested` (`auto`, `gpu`, `cpu`) among the GPUs, by name, that TensorFlow sees.

    `precision` is `auto`, `fp32`, `bf16` or `mixed-float16`; what `auto` means on a CPU is settled when the
    network is loaded (`loader`), `fp32` until then. Raises DeviceError if a GPU is requested and missing.
    """
    if requested == "gpu" and not gpus:
        raise DeviceError(
            'device = "gpu", but TensorFlow sees no GPU: install the driver, and run '
            "`make install GPU=1` or `pip install '.[gpu]'` in the checkout, or set device = \"auto\""
        )
    on_gpu = bool(gpus) and requested != "cpu"
    # On a CPU float16 is emulated and slower than single precision.
    selected: Precision = "fp32"
    if precision == "mixed-float16" or (precision == "auto" and on_gpu):
        selected = "mixed-float16"
    elif precision == "bf16":
        selected = "bf16"
    if on_gpu:
        return ComputeDevice("gpu", "/GPU:0", gpus[0], selected)
    reason = "as asked" if requested == "cpu" else "TensorFlow sees no GPU"
    return ComputeDevice("cpu", "/CPU:0", f"CPU ({reason})", selected)


def has_gpu_files(devices: Path = Path("/dev")) -> bool:
    """Return whether any GPU's device file is there; if not, importing TensorFlow to ask is not needed."""
    return any(any(devices.glob(pattern)) for pattern in _GPU_FILES)


_set_up: list[Any] = []
"""TensorFlow, once it is set up, which can be done once a process."""


def configure_tensorflow(
    requested: str, precision: str, threads: int, tensorflow: Any = None
) -> ComputeDevice:
    """Select a device and set TensorFlow up for it, before its first operation; later calls only select.

    A GPU's memory grows as it is needed, so that other programs keep theirs, and it multiplies in single
    precision, not in TensorFloat-32. `threads` 0 leaves the choice to
    TensorFlow. `tensorflow` is the module, or a stand-in for tests. Raises DeviceError.
    """
    if tensorflow is None:
        tensorflow = import_tensorflow()  # seconds that no refused setting should cost
    gpus = tensorflow.config.list_physical_devices("GPU")
    device = select_device(requested, precision, [gpu.name for gpu in gpus])
    if any(tensorflow is module for module in _set_up):
        return device
    try:
        if device.kind == "gpu":
            tensorflow.config.set_visible_devices(gpus[:1], "GPU")
            _prepare_gpus(tensorflow, gpus[:1])
        elif gpus:
            tensorflow.config.set_visible_devices([], "GPU")
        if threads:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as error:
        # TensorFlow refuses both once it has run anything; the daemon never does before this.
        raise DeviceError(f"TensorFlow was already in use and cannot be set up: {error}") from error
    _set_up.append(tensorflow)
    logger.info("device selected", extra={"device": device.description, "precision": device.precision})
    return device


def prepare_gpus() -> None:
    """Set up every GPU for a command that leaves the choice of the device to TensorFlow.

    Must come before TensorFlow's first operation; raises DeviceError after it.
    """
    tensorflow = import_tensorflow()
    try:
        _prepare_gpus(tensorflow, tensorflow.config.list_physical_devices("GPU"))
    except RuntimeError as error:
        raise DeviceError(f"TensorFlow was already in use and cannot be set up: {error}") from error


def _prepare_gpus(tensorflow: Any, gpus: Sequence[Any]) -> None:
    for gpu in gpus:
        tensorflow.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        # It keeps 10 of 23 bits of a factor: no single precision.
        tensorflow.config.experimental.enable_tensor_float_32_execution(False)


def import_tensorflow() -> Any:
    """Import TensorFlow with its messages kept from the terminal; what fails still raises.

    Its libraries write some lines before they read their log level, so descriptor 2 leads to /dev/null for as
    long as the import takes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    terminal = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        return importlib.import_module("tensorflow")
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def make_deterministic() -> None:
    """Make TensorFlow train the same model from the same seed, at some cost in speed."""
    import tensorflow as tf  # noqa: PLC0415 (seconds that other commands should not cost)

    tf.config.experimental.enable_op_determinism()
