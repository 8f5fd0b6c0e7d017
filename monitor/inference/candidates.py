"""What may run the network on this machine, and in which precision, best first."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from monitor.errors import DeviceError
from monitor.inference.backends.base import BackendName, cpu_has_bf16, is_installed
from monitor.inference.device import ComputeDevice, configure_tensorflow, has_gpu_files, select_device
from monitor.inference.precision import Precision

BackendChoice = tuple[BackendName, Precision]


_CPU_BACKENDS: tuple[BackendChoice, ...] = (
    ("openvino", "bf16"),
    ("openvino", "fp32"),
    ("tensorflow", "bf16"),
    ("onnxruntime", "fp32"),
    ("tensorflow", "fp32"),
)
"""Fastest first, as measured (PERFORMANCE.md). A runtime's bfloat16 comes before its own fp32: whether it is
faster depends on the processor, and is measured at start (`ready.py`). OpenVINO's need no TensorFlow."""


_GPU_BACKENDS: tuple[BackendChoice, ...] = (
    ("tensorflow", "mixed-float16"),
    ("tensorflow", "fp32"),
)


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """What is asked for; `threads` 0 is as many as there are cores, `threshold` None the bundle's.

    `whole`: explanations are also wanted in one batch.
    """

    device: Literal["auto", "gpu", "cpu"] = "auto"
    runtime: Literal["auto"] | BackendName = "auto"
    precision: Literal["auto"] | Precision = "auto"
    threads: int = 0
    batch: int = 8
    max_n: int = 10
    scoring: Literal["card", "seed", "paper"] = "card"
    threshold: float | None = None
    whole: bool = False


def detect_device(wanted: InferenceOptions) -> ComputeDevice:
    """The processor to use; TensorFlow is asked, and set up, only where there may be a GPU."""
    if wanted.device != "cpu" and has_gpu_files():
        return configure_tensorflow(wanted.device, wanted.precision, wanted.threads)
    device = select_device(wanted.device, wanted.precision, [])
    return device if wanted.device == "cpu" else replace(device, description="CPU (the machine has no GPU)")


def candidate_backends(
    wanted: InferenceOptions, device: ComputeDevice, *, has_references: bool
) -> Iterator[BackendChoice]:
    """What may serve, best first; never nothing. Raises DeviceError where nothing can do what is asked.

    `referenced`: whether the bundle has pictures by which a way can be checked.
    """
    if wanted.runtime != "auto" and not is_installed(wanted.runtime):
        raise DeviceError(
            f'runtime = "{wanted.runtime}", but it is not installed: '
            f"pip install 'defect-monitor[{wanted.runtime}]', or set runtime = \"auto\""
        )
    if device.kind == "gpu" and (wanted.runtime not in ("auto", "tensorflow") or wanted.precision == "bf16"):
        raise DeviceError(
            "a GPU runs TensorFlow in fp32 or mixed-float16: set the device, runtime or precision to auto"
        )
    if wanted.precision == "bf16" and not cpu_has_bf16(_cpuinfo()):
        raise DeviceError(
            'precision = "bf16", but the processor has no instructions for it: set precision = "auto"'
        )
    if wanted.precision == "mixed-float16":
        if wanted.runtime not in ("auto", "tensorflow"):
            raise DeviceError(f"precision = \"mixed-float16\" is TensorFlow's alone, not {wanted.runtime}'s")
        yield "tensorflow", "mixed-float16"
        return
    found = False
    for name, precision in available_backends(device.kind):
        # Without references nothing shows that another way answers alike: only what is asked for is taken.
        checked = has_references or precision in (wanted.precision, "fp32")
        trusted = has_references or name in (wanted.runtime, "tensorflow")
        asked = wanted.runtime in ("auto", name) and wanted.precision in ("auto", precision)
        if asked and checked and trusted:
            found = True
            yield name, precision
    if not found:
        raise DeviceError(f'runtime = "{wanted.runtime}" does not compute in {wanted.precision}')


def available_backends(kind: Literal["gpu", "cpu"]) -> Iterator[BackendChoice]:
    """What this machine can run, fastest first: what is installed and the processor has instructions for."""
    for name, precision in _GPU_BACKENDS if kind == "gpu" else _CPU_BACKENDS:
        if is_installed(name) and (precision != "bf16" or cpu_has_bf16(_cpuinfo())):
            yield name, precision


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
