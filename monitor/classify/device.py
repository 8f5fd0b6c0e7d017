"""Which processor the network runs on, and TensorFlow set up for it.

Written after TensorFlow's guide "Use a GPU"; the GPU half has been run against a stand-in only.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from monitor.classify.quiet import import_tensorflow
from monitor.classify.runtime import Precision, RuntimeName
from monitor.errors import DeviceError

log = logging.getLogger(__name__)

_GPU_FILES = ("nvidia[0-9]*", "dxg", "kfd")
"""Of /dev, one of which a GPU that TensorFlow can use brings: NVIDIA's driver, WSL's, AMD's."""


@dataclass(frozen=True, slots=True)
class Device:
    """What was taken: `kind` is `gpu` or `cpu`, `name` TensorFlow's, `description` a person's."""

    kind: Literal["gpu", "cpu"]
    name: str
    description: str
    precision: Precision
    runtime: RuntimeName = "tensorflow"


def choose_device(wanted: str, precision: str, gpus: Sequence[str]) -> Device:
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
        return Device("gpu", "/GPU:0", gpus[0], taken)
    why = "as asked" if wanted == "cpu" else "TensorFlow sees no GPU"
    return Device("cpu", "/CPU:0", f"CPU ({why})", taken)


def a_gpu_is_possible(devices: Path = Path("/dev")) -> bool:
    """Whether any GPU's device file is there; if not, TensorFlow need not be asked, which takes seconds."""
    return any(any(devices.glob(pattern)) for pattern in _GPU_FILES)


def prepare_tensorflow(wanted: str, precision: str, threads: int, tensorflow: Any = None) -> Device:
    """Choose a device and set TensorFlow up for it, before its first operation.

    A GPU's memory grows as it is needed, so that other programs keep theirs. `threads` 0 leaves
    TensorFlow's own choice. `tensorflow` is the module, or a stand-in for tests.
    """
    if tensorflow is None:
        tensorflow = import_tensorflow()  # seconds that no refused setting should cost
    gpus = tensorflow.config.list_physical_devices("GPU")
    device = choose_device(wanted, precision, [gpu.name for gpu in gpus])
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
