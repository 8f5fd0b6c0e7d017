"""TensorFlow as a runtime: frozen graphs, simplified once: a later start neither builds nor traces.

On a GPU graphs are compiled by XLA, which fuses what would be launched one by one; on a CPU oneDNN's own
kernels are faster. bfloat16 comes from Grappler, which casts where the processor's instructions serve.
"""

import importlib
from pathlib import Path
from typing import Any

from monitor.inference.backends.base import BackendName, GraphFunction, GraphSignature
from monitor.inference.precision import Precision


class TensorFlowBackend:
    """Frozen graphs run by TensorFlow, compiled by XLA if asked for."""

    name: BackendName = "tensorflow"

    def __init__(self, *, use_xla: bool = False) -> None:
        self._compiled = use_xla
        self._loaded: dict[Path, GraphFunction] = {}

    def export(self, graph: bytes, signature: GraphSignature, path: Path, precision: Precision) -> None:
        """Write `graph`, simplified by Grappler, as a GraphDef. A `mixed-float16` graph already is one."""
        simple = optimize_graph(graph, signature, bf16=precision == "bf16")
        path.with_suffix(".pb").write_bytes(simple)

    def compile(
        self, path: Path, signature: GraphSignature, batch: int, precision: Precision
    ) -> GraphFunction:
        """One function serves all sizes of batch."""
        if path not in self._loaded:
            self._loaded[path] = self._function(path.with_suffix(".pb").read_bytes(), signature)
        return self._loaded[path]

    def _function(self, graph: bytes, signature: GraphSignature) -> GraphFunction:
        tf = importlib.import_module("tensorflow")  # seconds that only this runtime costs
        definition = tf.compat.v1.GraphDef.FromString(graph)
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
        function = wrapped.prune(
            [wrapped.graph.get_tensor_by_name(f"{name}:0") for name in signature.inputs],
            [wrapped.graph.get_tensor_by_name(f"{name}:0") for name in signature.outputs],
        )
        if self._compiled:
            function = tf.function(function, jit_compile=True, autograph=False)

        def run(*arrays: Any) -> Any:
            return function(*(tf.convert_to_tensor(array) for array in arrays))

        return run


def optimize_graph(graph: bytes, signature: GraphSignature, *, bf16: bool = False) -> bytes:
    """`graph` (a GraphDef) as Grappler leaves it: constants folded, what does nothing taken out."""
    tf = importlib.import_module("tensorflow")
    protobuf = importlib.import_module("tensorflow.core.protobuf.config_pb2")
    rewriter = importlib.import_module("tensorflow.core.protobuf.rewriter_config_pb2").RewriterConfig
    optimizer = importlib.import_module("tensorflow.python.grappler.tf_optimizer")
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(graph), name="")
        described = tf.compat.v1.train.export_meta_graph(graph=whole)
    kept = described.collection_def["train_op"].node_list.value  # where Grappler looks for what must stay
    kept.extend(f"{name}:0" for name in (*signature.inputs, *signature.outputs))
    config = protobuf.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1
    options.meta_optimizer_iterations = rewriter.TWO
    if bf16:
        options.auto_mixed_precision_onednn_bfloat16 = rewriter.ON
    simple = optimizer.OptimizeGraph(config, described)
    for node in simple.node:
        for name in [name for name in node.attr if name.startswith("_")]:
            del node.attr[name]  # Grappler's notes to itself, which other programs stumble over
    return bytes(simple.SerializeToString())
