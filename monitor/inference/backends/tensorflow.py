"""TensorFlow as a backend: one SavedModel holds all graphs, so that a later start neither builds nor traces.

On a GPU, XLA compiles the graphs, which fuses what would be launched one by one; on a CPU the kernels of
oneDNN are faster.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.inference.backends.base import GRAPHS, BackendName, GraphFunction
from monitor.inference.precision import Precision


class TensorFlowBackend:
    """Graphs run by TensorFlow, compiled by XLA if `use_xla`, in the types that they were built in."""

    name: BackendName = "tensorflow"

    def __init__(self, *, use_xla: bool = False) -> None:
        self._use_xla = use_xla
        self._loaded: dict[Path, Any] = {}

    def export(self, graphs: Mapping[str, Any], folder: Path) -> None:
        """Write `graphs` as the signatures of a SavedModel."""
        tf = importlib.import_module("tensorflow")
        tf.saved_model.save(tf.Module(), folder / self.name, signatures=dict(graphs))

    def compile(self, folder: Path, name: str, *, batch: int, precision: Precision) -> GraphFunction:
        """One function serves all sizes of batch."""
        tf = importlib.import_module("tensorflow")  # seconds that only this backend costs
        if folder not in self._loaded:
            self._loaded[folder] = tf.saved_model.load(folder / self.name)
        function, signature = self._loaded[folder].signatures[name], GRAPHS[name]
        if self._use_xla:
            function = tf.function(function, jit_compile=True, autograph=False)

        def run(*arrays: Any) -> Any:
            inputs = {
                known: tf.convert_to_tensor(array)
                for known, array in zip(signature.inputs, arrays, strict=True)
            }
            outputs = function(**inputs)
            return [outputs[known] for known in signature.outputs]

        return run
