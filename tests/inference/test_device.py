"""Choosing a processor. No GPU can be had here: TensorFlow's side of it is a stand-in."""

from types import SimpleNamespace
from typing import Any

import pytest

from monitor.errors import DeviceError
from monitor.inference.device import configure_tensorflow, select_device

GPU = "/physical_device:GPU:0"


def tensorflow_with(gpus: list[str], calls: list[Any], fails: bool = False) -> Any:
    def note(*what: Any) -> None:
        if fails:
            raise RuntimeError("already initialized")
        calls.append(what)

    return SimpleNamespace(
        config=SimpleNamespace(
            list_physical_devices=lambda kind: [SimpleNamespace(name=name) for name in gpus],
            set_visible_devices=lambda devices, kind: note("visible", len(devices)),
            experimental=SimpleNamespace(
                set_memory_growth=lambda gpu, on: note("growth", gpu.name, on),
                enable_tensor_float_32_execution=lambda on: note("TensorFloat-32", on),
            ),
            threading=SimpleNamespace(set_intra_op_parallelism_threads=lambda count: note("threads", count)),
        )
    )


@pytest.mark.parametrize(
    ("wanted", "precision", "gpus", "kind", "taken"),
    [
        ("auto", "auto", [], "cpu", "fp32"),
        ("auto", "auto", [GPU], "gpu", "mixed-float16"),
        ("gpu", "fp32", [GPU], "gpu", "fp32"),
        ("cpu", "auto", [GPU], "cpu", "fp32"),
        ("cpu", "mixed-float16", [], "cpu", "mixed-float16"),
    ],
)
def test_the_device_follows_from_what_is_wanted_and_what_is_there(
    wanted: str, precision: str, gpus: list[str], kind: str, taken: str
) -> None:
    device = select_device(wanted, precision, gpus)
    assert (device.kind, device.precision) == (kind, taken)


def test_a_gpu_that_is_wanted_and_missing_is_refused() -> None:
    with pytest.raises(DeviceError, match="TensorFlow sees no GPU"):
        configure_tensorflow("gpu", "auto", 0, tensorflow_with([], []))


def test_a_gpu_takes_memory_as_it_needs_it_and_computes_in_full_single_precision() -> None:
    calls: list[Any] = []
    configure_tensorflow("auto", "auto", 0, tensorflow_with([GPU], calls))
    assert calls == [("visible", 1), ("growth", GPU, True), ("TensorFloat-32", False)]


def test_a_gpu_that_is_not_wanted_is_left_to_others() -> None:
    calls: list[Any] = []
    configure_tensorflow("cpu", "auto", 2, tensorflow_with([GPU], calls))
    assert calls == [("visible", 0), ("threads", 2)]


def test_setting_up_too_late_is_said() -> None:
    with pytest.raises(DeviceError, match="already in use"):
        configure_tensorflow("auto", "auto", 1, tensorflow_with([], [], fails=True))
