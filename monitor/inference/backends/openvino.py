"""OpenVINO as a backend (`pip install '.[openvino]'` in the checkout).

TensorFlow is needed to write the graphs, not to run them.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from monitor.inference.backends.base import GRAPHS, BackendName, GraphFunction
from monitor.inference.precision import Precision


class OpenVinoBackend:
    """Graphs in OpenVINO's own format, compiled for one size of batch. `threads` 0: one a core."""

    name: BackendName = "openvino"

    def __init__(self, threads: int = 0) -> None:
        self._core = _core()
        self._threads = threads or len(os.sched_getaffinity(0))

    def export(self, graphs: Mapping[str, Any], folder: Path) -> None:
        """Write each graph as an .xml and a .bin, with weights in float32 whatever precision it runs in."""
        openvino = import_openvino()
        for name, graph in graphs.items():
            model = openvino.convert_model(graph)
            openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)

    def compile(self, folder: Path, name: str, *, batch: int, precision: Precision) -> GraphFunction:
        """Compile for `batch`; the outputs lie in buffers that the next call overwrites."""
        model, signature = self._core.read_model(folder / f"{name}.xml"), GRAPHS[name]
        shape = model.input(signature.inputs[0]).partial_shape
        if shape.is_dynamic:
            sides = [side.get_length() for side in list(shape)[1:]]
            model.reshape({signature.inputs[0]: [batch, *sides]})
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": self._threads,
            "ENABLE_CPU_PINNING": False,  # capture processes need the same cores
        }
        compiled = self._core.compile_model(model, "CPU", options)
        request = compiled.create_infer_request()
        inputs = [compiled.input(known) for known in signature.inputs]
        outputs = [compiled.output(known) for known in signature.outputs]

        def run(*arrays: Any) -> Sequence[Any]:
            given = {port: np.ascontiguousarray(array) for port, array in zip(inputs, arrays, strict=True)}
            answer = request.infer(given, share_inputs=True, share_outputs=True)
            return [answer[port] for port in outputs]

        return run


@cache
def _core() -> Any:
    """Return the one core of the process, which is never freed.

    OpenVINO's plugin for the CPU belongs to a core. On the thread that first compiles a graph it sets a stack
    for signal handlers, and with the last graph of the core it unmaps that stack. Where another thread frees
    that graph, the first thread is left with a stack that does not exist: its next signal, such as SIGHUP,
    ends the process, without a traceback.
    """
    return import_openvino().Core()


def import_openvino() -> Any:
    """Import OpenVINO without the report that it sends to its makers: what runs in a plant stays there.

    Where the package that sends it cannot be imported, OpenVINO runs without it, and writes no files of it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # so imports are refused
    return importlib.import_module("openvino")
