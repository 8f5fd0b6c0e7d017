"""Which backends can run a network on this machine, and in which precision, best first."""

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
    ("tensorflow", "fp32"),
)
"""Fastest first, as measured (PERFORMANCE.md). The bfloat16 of a backend comes before its fp32: whether it is
faster depends on the processor, and is measured at start (`loader`). OpenVINO runs without TensorFlow."""


_GPU_BACKENDS: tuple[BackendChoice, ...] = (
    ("tensorflow", "mixed-float16"),
    ("tensorflow", "fp32"),
)


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """Where and how a model is to run.

    `batch` is the largest number of inputs in one pass. `threads` 0 is as many as there are cores.
    """

    device: Literal["auto", "gpu", "cpu"] = "auto"
    runtime: Literal["auto"] | BackendName = "auto"
    precision: Literal["auto"] | Precision = "auto"
    threads: int = 0
    batch: int = 8


def detect_device(options: InferenceOptions) -> ComputeDevice:
    """Select the processor; TensorFlow is imported, and set up, only where there may be a GPU."""
    cpu_alone = options.runtime == "openvino" or options.precision in ("bf16", "screened")
    if options.device == "auto" and cpu_alone:
        return select_device("cpu", options.precision, [])
    if options.device != "cpu" and has_gpu_files():
        return configure_tensorflow(options.device, options.precision, options.threads)
    device = select_device(options.device, options.precision, [])
    return device if options.device == "cpu" else replace(device, description="CPU (the machine has no GPU)")


def candidate_backends(
    options: InferenceOptions, device: ComputeDevice, *, has_references: bool, has_screening: bool = False
) -> Iterator[BackendChoice]:
    """Yield what meets `options`, best first; at least one. Raises DeviceError where nothing does.

    `has_references`: whether the bundle has images on which a backend can be checked. `has_screening`:
    whether it has an early exit.
    """
    if options.runtime != "auto" and not is_installed(options.runtime):
        raise DeviceError(
            f'runtime = "{options.runtime}", but it is not installed: '
            f"run `pip install '.[{options.runtime}]'` in the checkout, or set runtime = \"auto\""
        )
    if device.kind == "gpu" and (
        options.runtime not in ("auto", "tensorflow") or options.precision in ("bf16", "screened")
    ):
        raise DeviceError(
            "a GPU runs TensorFlow in fp32 or mixed-float16: set the device, runtime or precision to auto"
        )
    if options.precision == "bf16" and not cpu_has_bf16(_cpuinfo()):
        raise DeviceError(
            'precision = "bf16", but the processor has no instructions for it: set precision = "auto"'
        )
    if options.precision == "screened":
        if not has_screening:
            raise DeviceError(
                'precision = "screened", but the model has no early exit: set precision = "auto", '
                "or train one (see monitor/learning/README.md)"
            )
        if options.runtime == "tensorflow" or not is_installed("openvino"):
            raise DeviceError('precision = "screened" runs on OpenVINO only: set precision = "auto"')
        yield "openvino", "screened"
        return
    if options.precision == "mixed-float16":
        if options.runtime not in ("auto", "tensorflow"):
            raise DeviceError(
                f'precision = "mixed-float16" runs on TensorFlow only, not on {options.runtime}'
            )
        yield "tensorflow", "mixed-float16"
        return
    for name, precision in available_backends(device.kind):
        # Without references nothing shows that another backend gives the same scores: only what is asked
        # for, or TensorFlow in single precision, is safe.
        precision_is_safe = has_references or precision in (options.precision, "fp32")
        backend_is_safe = has_references or name in (options.runtime, "tensorflow")
        requested = options.runtime in ("auto", name) and options.precision in ("auto", precision)
        if requested and precision_is_safe and backend_is_safe:
            yield name, precision


def available_backends(kind: Literal["gpu", "cpu"]) -> Iterator[BackendChoice]:
    """Yield what is installed and the processor has instructions for, fastest first.

    `screened`, which takes an early exit and a request, is not among them.
    """
    for name, precision in _GPU_BACKENDS if kind == "gpu" else _CPU_BACKENDS:
        if is_installed(name) and (precision != "bf16" or cpu_has_bf16(_cpuinfo())):
            yield name, precision


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
