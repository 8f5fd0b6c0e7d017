"""`defect-monitor compare`: whether a new model should replace the one in use."""

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from monitor.cli.evaluation_output import (
    command_line,
    progress,
    refuse_unwritable,
    show_tables,
    write_report,
)

if TYPE_CHECKING:
    from monitor.learning.evaluate.comparison import ImageComparison
    from monitor.learning.evaluate.evaluator import ExplainedImage


def compare(
    old: Annotated[str, typer.Argument(help="Model in use: name of a shipped one, or folder of a bundle.")],
    new: Annotated[str, typer.Argument(help="Model that may replace it.")],
    *,
    data: Annotated[
        list[Path],
        typer.Option(help="Folder with labelled images, such as an exported dataset. Repeat for more."),
    ],
    classes: Annotated[
        str, typer.Option(help="Compare on these classes, separated by commas. Default: all.")
    ] = "",
    split: Annotated[
        Literal["Train", "Test", "all"] | None,
        typer.Option(
            help="Compare on this part of the data. Default: Test, or all where nothing is set aside."
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a report with images to this HTML file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    device: Annotated[
        Literal["auto", "gpu", "cpu"], typer.Option(help="Run the networks on this device.")
    ] = "auto",
) -> None:
    """Compare two models on labelled images, each at its own threshold, and recommend one.

    Images that one of the models was made from are left out. Where the images prove nothing, the command says
    how many more would.
    """
    from monitor.errors import DataError
    from monitor.learning.datasets import read_samples
    from monitor.models.bundle import load_bundle
    from monitor.models.registry import resolve_model_path

    if report is not None:
        refuse_unwritable(report)
    samples = read_samples(data, [word.strip() for word in classes.split(",") if word.strip()])
    if split is None:
        split = "Test" if any(sample.split == "Test" for sample in samples) else "all"
    samples = [sample for sample in samples if split in ("all", sample.split)]
    if not samples:
        raise DataError(f"the data have no {split} part")
    bundles = [load_bundle(resolve_model_path(model)) for model in (old, new)]

    from rich.console import Console

    from monitor.inference.device import import_tensorflow

    import_tensorflow()
    from monitor.learning.evaluate.comparison import as_document
    from monitor.learning.evaluate.comparison import compare as run
    from monitor.learning.evaluate.comparison_report import ADVICE, comparison_report, comparison_tables
    from monitor.learning.evaluate.evaluator import explain_image
    from monitor.learning.evaluate.html_report import ReportHeader
    from monitor.learning.evaluate.model_under_test import load_model_under_test

    before, after = (load_model_under_test(bundle, device=device) for bundle in bundles)
    with progress(Console(stderr=True), 2 * len(samples)) as advance:
        found = run(before, after, samples, advance=advance)
    if report is not None:
        surfaces = ", ".join(dict.fromkeys(sample.surface for sample in samples))
        header = ReportHeader(
            after.name,
            f"{surfaces}, {split}: {len(found.images)} images",
            command_line(),
            date.today().isoformat(),
        )

        def explain(one: "ImageComparison") -> "tuple[ExplainedImage, ExplainedImage]":
            return explain_image(before, one.sample), explain_image(after, one.sample)

        write_report(report, comparison_report(found, header, explain))
    if as_json:
        print(json.dumps(as_document(found), indent=2, allow_nan=False))
        return
    show_tables(comparison_tables(found))
    print(ADVICE[found.recommendation.decision])
    for reason in found.recommendation.reasons:
        print(f"  {reason}")
    if report is not None:
        print(f"report: {report}")
