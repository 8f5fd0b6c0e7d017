"""`defect-monitor bench classify` and `bench start`: what the network costs, and a start."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.bench.output import Out, print_rows

if TYPE_CHECKING:
    from monitor.tools.bench.backends import Row as NetworkRow
    from monitor.tools.bench.startup import Row as StartRow


def classify(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    model: Annotated[str, typer.Option(help="A shipped model's name, or a bundle's folder.")] = "dagm-class1",
    rounds: Annotated[int, typer.Option(min=1, help="How often each takes its turn.")] = 30,
    out: Out = None,
) -> None:
    """Time the network on every runtime that is installed, in every precision the processor has."""
    from monitor.cli.process import limit_library_threads

    limit_library_threads()  # as in the daemon
    from monitor.inference.device import import_tensorflow

    import_tensorflow()
    from monitor.models.bundle import load_bundle
    from monitor.models.registry import resolve_model_path
    from monitor.tools.bench.backends import run

    rows = run(load_bundle(resolve_model_path(model)), rounds=rounds)
    print_rows("classify", rows, _network_table(rows), as_json=as_json, out=out)


def _network_table(rows: "list[NetworkRow]") -> Iterator[str]:
    yield "| | precision | batch | ms a frame, an explanation | quartiles | to the best, to its passes |"
    yield "|---|---|--:|--:|--:|--:|"
    for row in rows:
        spread = f"{row.lower:.1f} to {row.upper:.1f}"
        yield (
            f"| {row.what} | {row.precision} | {row.batch} | {row.milliseconds:.1f} "
            f"| {spread} | {row.to_best:.2f} |"
        )


def start(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often each takes its turn.")] = 5,
    out: Out = None,
) -> None:
    """Time the daemon's start until it is ready, beside `import tensorflow` alone."""
    from monitor.tools.bench.startup import run

    rows = run(rounds)
    print_rows("start", rows, _start_table(rows), as_json=as_json, out=out)


def _start_table(rows: "list[StartRow]") -> Iterator[str]:
    yield "| | s | least and most | to the import |"
    yield "|---|--:|--:|--:|"
    for row in rows:
        spread = f"{row.lowest:.2f} to {row.highest:.2f}"
        yield f"| {row.what} | {row.seconds:.2f} | {spread} | {row.to_import:.2f} |"
