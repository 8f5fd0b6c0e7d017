"""The seam between a network and what runs it: TensorFlow or OpenVINO.

A few graphs pass it, built once for a bundle (`graphs`): one classifies images, two explain a flagged one. A
backend writes the graphs into files of its own kind, and later compiles them without whatever built them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from monitor.inference.precision import Precision

BackendName = Literal["tensorflow", "openvino"]


@dataclass(frozen=True, slots=True)
class GraphSignature:
    """The inputs and outputs of a graph, by name and in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


_CLASSIFY = GraphSignature(("images",), ("scores", "features", "activations"))


GRAPHS: Mapping[str, GraphSignature] = {
    "classify": _CLASSIFY,
    "classify_fp32": _CLASSIFY,
    "screen": GraphSignature(("images",), ("scores", "distances")),
    "mask_inputs": GraphSignature(("images", "maps"), ("masked",)),
    "score_maps": GraphSignature(("masked",), ("weights",)),
}
"""The graphs of a network by name; `graphs.build_graphs` describes each, `graphs.build_screening` one."""


FP32_GRAPHS = frozenset({"classify_fp32", "mask_inputs"})
"""Graphs that always run in single precision: the recheck, and the one that runs no network, where less would
gain nothing."""


GraphFunction = Callable[..., Sequence[Any]]
"""Arrays to arrays (or what `numpy.asarray` takes), valid until the next call. For one thread at a time."""


class Backend(Protocol):
    """Runs graphs. Errors of the library come out unchanged; the loader describes them."""

    name: BackendName

    def export(self, graphs: Mapping[str, Any], folder: Path) -> None:
        """Write graphs, concrete functions of TensorFlow by name, into `folder`."""

    def compile(self, folder: Path, name: str, *, batch: int, precision: Precision) -> GraphFunction:
        """Compile the graph `name` that `export` wrote into `folder`, for batches of `batch` images."""


def graph_precision(name: str, precision: Precision) -> Precision:
    """Return in which precision the graph `name` runs where the network computes in `precision`."""
    return "fp32" if name in FP32_GRAPHS or precision == "screened" else precision


def is_installed(name: BackendName) -> bool:
    """Return whether the backend's library is installed; nothing is imported."""
    return find_spec(name) is not None


def cpu_has_bf16(cpuinfo: str) -> bool:
    """Return whether `cpuinfo`, the text of /proc/cpuinfo, lists instructions for bfloat16."""
    flags = next(
        (line for line in cpuinfo.splitlines() if line.startswith(("flags", "Features"))), ""
    ).split()
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)
