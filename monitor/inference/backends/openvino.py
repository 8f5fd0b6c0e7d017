"""OpenVINO as a runtime (`pip install 'defect-monitor[openvino]'`).

TensorFlow is needed to write, not to run.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitor.inference.backends.base import BackendName, GraphFunction, GraphSignature
from monitor.inference.precision import Precision


class OpenVinoBackend:
    """Graphs in OpenVINO's own format, compiled at load for one size of batch. `threads` 0: one a core."""

    name: BackendName = "openvino"

    def __init__(self, threads: int = 0) -> None:
        self._core = import_openvino().Core()
        self._threads = threads or len(os.sched_getaffinity(0))

    def export(self, graph: bytes, signature: GraphSignature, path: Path, precision: Precision) -> None:
        """Write `graph` as an .xml and a .bin, the weights in float32 whatever the precision of the sums."""
        with tempfile.NamedTemporaryFile(suffix=".pb") as file:
            file.write(graph)
            file.flush()
            model = self._core.read_model(file.name)
        import_openvino().save_model(model, path.with_suffix(".xml"), compress_to_fp16=False)

    def compile(
        self, path: Path, signature: GraphSignature, batch: int, precision: Precision
    ) -> GraphFunction:
        """Compile for `batch`; the answers lie in buffers that the next call overwrites."""
        model = self._core.read_model(path.with_suffix(".xml"))
        shape = model.input(f"{signature.inputs[0]}:0").partial_shape
        if shape.is_dynamic:
            model.reshape(
                {f"{signature.inputs[0]}:0": [batch, *(side.get_length() for side in list(shape)[1:])]}
            )
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": self._threads,
            "ENABLE_CPU_PINNING": False,  # capture processes need the same cores
        }
        compiled = self._core.compile_model(model, "CPU", options)
        request = compiled.create_infer_request()
        inputs = [compiled.input(f"{name}:0") for name in signature.inputs]
        outputs = [compiled.output(f"{name}:0") for name in signature.outputs]

        def run(*arrays: Any) -> Sequence[Any]:
            given = {port: np.ascontiguousarray(array) for port, array in zip(inputs, arrays, strict=True)}
            answer = request.infer(given, share_inputs=True, share_outputs=True)
            return [answer[port] for port in outputs]

        return run


def import_openvino() -> Any:
    """OpenVINO without the report that it sends to its makers at import: what runs in a plant stays there.

    It does without the package that sends it where that cannot be imported, and then writes no files of it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # so imports are refused
    return importlib.import_module("openvino")
