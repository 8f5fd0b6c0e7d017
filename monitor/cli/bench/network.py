"""`defect-monitor bench classify`, `bench models` and `bench start`: the cost of networks and of a start."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.bench.output import AsJson, Model, Out, print_rows

if TYPE_CHECKING:
    from monitor.tools.bench.backends import BackendTiming
    from monitor.tools.bench.models import ModelsTiming
    from monitor.tools.bench.startup import StartupTiming


def classify(
    as_json: AsJson = False,
    model: Model = "dagm-class1",
    rounds: Annotated[int, typer.Option(min=1, help="Number of times each case is measured.")] = 30,
    out: Out = None,
) -> None:
    """Time the network on every installed runtime, in every precision of the processor."""
    from monitor.cli.process import limit_library_threads

    limit_library_threads()  # as in the daemon
    from monitor.inference.device import import_tensorflow

    import_tensorflow()
    from monitor.models.bundle import load_bundle
    from monitor.models.registry import resolve_model_path
    from monitor.tools.bench.backends import run

    rows = run(load_bundle(resolve_model_path(model)), rounds=rounds)
    print_rows("classify", rows, _network_table(rows), as_json=as_json, out=out)


def _network_table(rows: "list[BackendTiming]") -> Iterator[str]:
    yield "| | precision | batch | ms a frame, an explanation | quartiles | to the best, to its passes |"
    yield "|---|---|--:|--:|--:|--:|"
    for row in rows:
        spread = f"{row.lower:.1f} to {row.upper:.1f}"
        yield (
            f"| {row.what} | {row.precision} | {row.batch} | {row.milliseconds:.1f} "
            f"| {spread} | {row.to_best:.2f} |"
        )


def models(
    as_json: AsJson = False,
    model: Model = "dagm-class1",
    rounds: Annotated[int, typer.Option(min=1, help="Number of times each case is measured.")] = 20,
    out: Out = None,
) -> None:
    """Time four cameras with one model, with two, and with one each, and measure a further model's memory."""
    from monitor.cli.process import limit_library_threads

    limit_library_threads()  # as in the daemon
    from monitor.models.bundle import load_bundle
    from monitor.models.registry import resolve_model_path
    from monitor.tools.bench.models import run

    rows = run(load_bundle(resolve_model_path(model)), rounds=rounds)
    print_rows("models", rows, _models_table(rows), as_json=as_json, out=out)


def _models_table(rows: "list[ModelsTiming]") -> Iterator[str]:
    yield "| models | frames/s | to one model | MB a further model |"
    yield "|--:|--:|--:|--:|"
    for row in rows:
        further = f"{row.further_megabytes:.0f}" if row.models > 1 else ""
        yield f"| {row.models} | {row.frames_per_second:.1f} | {row.to_one:.2f} | {further} |"


def start(
    as_json: AsJson = False,
    rounds: Annotated[int, typer.Option(min=1, help="Number of times each case is measured.")] = 5,
    out: Out = None,
) -> None:
    """Time the daemon's start until it is ready, beside `import tensorflow` alone."""
    from monitor.tools.bench.startup import run

    rows = run(rounds)
    print_rows("start", rows, _start_table(rows), as_json=as_json, out=out)


def _start_table(rows: "list[StartupTiming]") -> Iterator[str]:
    yield "| | s | lowest and highest | to the import |"
    yield "|---|--:|--:|--:|"
    for row in rows:
        spread = f"{row.lowest:.2f} to {row.highest:.2f}"
        yield f"| {row.what} | {row.seconds:.2f} | {spread} | {row.to_import:.2f} |"
