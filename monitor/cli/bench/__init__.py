"""`defect-monitor bench`: speed tables, as ratios within one run."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.bench.capacity import capacity
from monitor.cli.bench.network import classify, models, start
from monitor.cli.bench.output import AsJson, Model, Out, print_rows
from monitor.cli.bench.pipeline import pipeline

if TYPE_CHECKING:
    from monitor.tools.bench.cam_methods import CamTiming


app = typer.Typer(help="Measure speed, as ratios within one run.", no_args_is_help=True)


app.command()(capacity)


app.command()(classify)


app.command()(models)


app.command()(pipeline)


app.command()(start)


@app.callback()
def _group() -> None:
    """Measure speed, as ratios within one run."""


@app.command()
def cam(
    *,
    as_json: AsJson = False,
    model: Model = "dagm-class1",
    vgg16: Annotated[
        bool, typer.Option(help="Measure VGG16 at block5_conv3 as well, with random weights.")
    ] = True,
    whole: Annotated[
        bool, typer.Option(help="Measure Score-CAM over all maps as well; takes minutes.")
    ] = True,
    max_n: Annotated[
        int, typer.Option(min=1, help="Number of feature maps that Faster-Score-CAM scores.")
    ] = 10,
    out: Out = None,
) -> None:
    """Time every explanation method on one image, beside the literal function and installed peers."""
    from monitor.inference.device import import_tensorflow

    import_tensorflow()
    from monitor.models.bundle import load_bundle
    from monitor.models.registry import resolve_model_path
    from monitor.tools.bench.cam_methods import run
    from monitor.tools.bench.cam_methods import vgg16 as random_vgg16

    bundle = load_bundle(resolve_model_path(model))
    rows = run(bundle.keras_model(), bundle.card.cam_layer, bundle.card.name, max_n=max_n, whole=whole)
    if vgg16:
        rows += run(*random_vgg16(), max_n=max_n, whole=whole)
    print_rows("cam", rows, _table(rows), as_json=as_json, out=out)


def _table(rows: "list[CamTiming]") -> Iterator[str]:
    yield "| network | method | ms | to Grad-CAM | to the literal function | to its limit |"
    yield "|---|---|--:|--:|--:|--:|"
    for row in rows:
        yield f"| {row.network} | {row.method} | {row.milliseconds:.0f} | {_ratios(row)} |"


def _ratios(row: "CamTiming") -> str:
    ratios = (row.to_grad_cam, row.to_literal, row.to_limit)
    return " | ".join("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
