"""`defect-monitor bench classify` and `bench start`: what the network costs, and a start."""

import json
from dataclasses import asdict
from typing import Annotated

import typer


def classify(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    model: Annotated[str, typer.Option(help="A shipped model's name, or a bundle's folder.")] = "dagm-class1",
    rounds: Annotated[int, typer.Option(min=1, help="How often each takes its turn.")] = 30,
) -> None:
    """Time the network on every runtime that is installed, in every precision the processor has."""
    from monitor.cli.threads import leave_the_cores_to_the_network

    leave_the_cores_to_the_network()  # as in the daemon
    from monitor.cli.quiet import import_tensorflow

    import_tensorflow()
    from monitor.bench.classify import run
    from monitor.classify.bundle import load_bundle
    from monitor.models import shipped_model

    rows = run(load_bundle(shipped_model(model)), rounds=rounds)
    if as_json:
        print(json.dumps({"machine": _machine(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(", ".join(_machine().values()) + "\n")
    print("| | precision | batch | ms a frame, an explanation | quartiles | to the best, to its passes |")
    print("|---|---|--:|--:|--:|--:|")
    for row in rows:
        spread = f"{row.lower:.1f} to {row.upper:.1f}"
        print(
            f"| {row.what} | {row.precision} | {row.batch} | {row.milliseconds:.1f} "
            f"| {spread} | {row.to_best:.2f} |"
        )


def start(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often each takes its turn.")] = 5,
) -> None:
    """Time the daemon's start until it is ready, beside `import tensorflow` alone."""
    from monitor.bench.start import run

    rows = run(rounds)
    if as_json:
        print(json.dumps({"machine": _machine(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(", ".join(_machine().values()) + "\n")
    print("| | s | least and most | to the import |\n|---|--:|--:|--:|")
    for row in rows:
        spread = f"{row.lowest:.2f} to {row.highest:.2f}"
        print(f"| {row.what} | {row.seconds:.2f} | {spread} | {row.to_import:.2f} |")


def _machine() -> dict[str, str]:
    from importlib.metadata import version

    from monitor.classify.runtime import installed
    from monitor.cli.bench import _machine as common

    extras = {name: f"{name} {version(name)}" for name in ("openvino", "onnxruntime") if installed(name)}
    return common() | extras
