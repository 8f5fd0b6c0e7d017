"""The seam between the network and what runs it: TensorFlow, OpenVINO or ONNX Runtime.

A few graphs go over it, made once of a bundle (`graphs.py`): one classifies pictures, the others explain a
flagged one. A runtime writes a graph into a file of its own kind, and later loads that file without whatever
made it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from monitor.inference.precision import Precision

BackendName = Literal["tensorflow", "openvino", "onnxruntime"]


@dataclass(frozen=True, slots=True)
class GraphSignature:
    """What goes into a graph and what comes out, by name and in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


GRAPHS: dict[str, GraphSignature] = {
    "classify": GraphSignature(("pictures",), ("scores", "features", "activations")),
    "exact": GraphSignature(("pictures",), ("scores", "features", "activations")),
    "choose": GraphSignature(("pictures", "activations"), ("maps", "inputs")),
    "mask": GraphSignature(("maps", "inputs", "start"), ("masked",)),
    "weigh": GraphSignature(("masked",), ("weights",)),
    "combine": GraphSignature(("maps", "weights"), ("heat", "strength")),
    "whole": GraphSignature(("pictures", "activations"), ("heat", "strength")),
}
"""The graphs of a network by name; `graphs.py` says what each maps."""


FP32_GRAPHS = frozenset({"exact", "choose", "mask", "combine"})
"""Graphs in single precision always: the one that is asked again, and those that run no network, where less
would gain nothing and change which maps are weighed."""


GraphFunction = Callable[..., Sequence[Any]]
"""Arrays to arrays (or what `numpy.asarray` takes), valid until the next call. For one thread at a time."""


class Backend(Protocol):
    """Runs graphs. Whatever goes wrong inside comes out as it is; `ready.py` tells it from mistakes."""

    name: BackendName

    def export(self, graph: bytes, signature: GraphSignature, path: Path, precision: Precision) -> None:
        """Write the frozen TensorFlow graph `graph` into files named `path` and a suffix."""

    def compile(
        self, path: Path, signature: GraphSignature, batch: int, precision: Precision
    ) -> GraphFunction:
        """Make ready to run what `write` wrote at `path`, for batches of `batch` pictures."""


def graph_precision(name: str, precision: Precision) -> Precision:
    """In which precision the graph `name` is run where the network computes in `precision`."""
    return "fp32" if name in FP32_GRAPHS else precision


def export_graphs(runtime: Backend, graphs: Mapping[str, bytes], folder: Path, precision: Precision) -> None:
    """Have `runtime` write graphs into `folder`, from where it loads them by their names."""
    for name, graph in graphs.items():
        runtime.export(graph, GRAPHS[name], folder / name, graph_precision(name, precision))


_REQUIRED_MODULES: dict[BackendName, tuple[str, ...]] = {
    "tensorflow": (),
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "tf2onnx"),
}


def is_installed(name: BackendName) -> bool:
    """Whether all that the runtime needs is installed; nothing is imported."""
    return all(find_spec(module) is not None for module in _REQUIRED_MODULES[name])


def cpu_has_bf16(cpuinfo: str) -> bool:
    """Whether `cpuinfo`, the text of /proc/cpuinfo, tells of instructions for bfloat16."""
    flags = next(
        (line for line in cpuinfo.splitlines() if line.startswith(("flags", "Features"))), ""
    ).split()
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)
