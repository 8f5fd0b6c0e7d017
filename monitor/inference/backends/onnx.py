"""ONNX Runtime as a runtime (`pip install 'defect-monitor[onnxruntime]'`).

TensorFlow is needed to write, not to run.
"""

import importlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from monitor.inference.backends.base import BackendName, GraphFunction, GraphSignature
from monitor.inference.precision import Precision

_OPSET = 18


@contextmanager
def _hushed(*names: str) -> Iterator[None]:
    """Only errors from these loggers."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class OnnxRuntime:
    """Graphs as ONNX files, on the CPU. `threads` 0 leaves ONNX Runtime its own choice."""

    name: BackendName = "onnxruntime"

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads
        self._loaded: dict[Path, Any] = {}

    def export(self, graph: bytes, signature: GraphSignature, path: Path, precision: Precision) -> None:
        """Write `graph` as an .onnx file."""
        tf = importlib.import_module("tensorflow")
        convert = importlib.import_module("tf2onnx").convert
        with _hushed("tensorflow", "tf2onnx"):  # they tell of each step
            model, _ = convert.from_graph_def(
                tf.compat.v1.GraphDef.FromString(graph),
                input_names=[f"{name}:0" for name in signature.inputs],
                output_names=[f"{name}:0" for name in signature.outputs],
                opset=_OPSET,
            )
        path.with_suffix(".onnx").write_bytes(model.SerializeToString())

    def compile(
        self, path: Path, signature: GraphSignature, batch: int, precision: Precision
    ) -> GraphFunction:
        """One session serves all sizes of batch."""
        if path not in self._loaded:
            self._loaded[path] = self._session(path.with_suffix(".onnx"))
        session = self._loaded[path]

        def run(*arrays: Any) -> Sequence[Any]:
            given = {
                f"{name}:0": np.asarray(array) for name, array in zip(signature.inputs, arrays, strict=True)
            }
            return list(session.run([f"{name}:0" for name in signature.outputs], given))

        return run

    def _session(self, file: Path) -> Any:
        onnxruntime = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        # Threads that spin while they wait take the cores from those that read cameras.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
