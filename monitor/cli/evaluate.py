"""`defect-monitor evaluate`: how far a model is to be trusted."""

import json
import os
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from monitor.learning.datasets import Sample
    from monitor.learning.evaluate.cam_comparison import CamScore
    from monitor.learning.evaluate.tables import Table
    from monitor.models.bundle import ModelBundle


def evaluate(
    *,
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder with classes of surface: DAGM in either layout, or good/ beside folders of defects. "
            "May be given several times."
        ),
    ],
    model: Annotated[
        str, typer.Option(help="Folder of a model bundle, or the name of a shipped one.")
    ] = "dagm-class1",
    classes: Annotated[
        str, typer.Option(help="Names of the classes to look at, divided by commas; all if none.")
    ] = "",
    split: Annotated[Literal["Train", "Test", "all"], typer.Option(help="Which part of the data.")] = "Test",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a report with pictures to this HTML file.")
    ] = None,
    robustness: Annotated[
        bool, typer.Option(help="Judge the pictures again after noise, blur, coding, light and geometry.")
    ] = True,
    explanations: Annotated[
        bool, typer.Option("--explanations", help="Compare methods of explanation; takes minutes.")
    ] = False,
    others: Annotated[
        str | None,
        typer.Option(help="Pictures of surfaces the model does not know: a folder or a glob in quotes."),
    ] = None,
    test_share: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of undivided data that training set aside as Test."),
    ] = 0.0,
    good: Annotated[str, typer.Option(help="Name of the folder of good pictures.")] = "good",
    masks: Annotated[str, typer.Option(help="Name of folders of masks.")] = "masks",
    mask_suffix: Annotated[
        str | None, typer.Option(help="Suffix of masks that lie beside their pictures, such as .png.")
    ] = None,
    device: Annotated[Literal["auto", "gpu", "cpu"], typer.Option(help="What the network runs on.")] = "auto",
) -> None:
    """Judge labelled pictures and say how well: scores, places, robustness, surfaces that are not known."""
    from monitor.errors import UsageError
    from monitor.inference.device import import_tensorflow
    from monitor.learning.datasets import FolderLayout, read_samples
    from monitor.models.bundle import load_bundle
    from monitor.models.registry import resolve_model_path

    if as_json and as_markdown:
        raise UsageError("--json and --markdown are two answers to one question: give one of them")
    if report is not None:
        _refuse_unwritable(report)
    wanted = [word.strip() for word in classes.split(",") if word.strip()]
    samples = read_samples(
        data,
        wanted,
        split=None if split == "all" else split,
        layout=FolderLayout(good, masks, mask_suffix),
        test_share=test_share,
    )
    strange = _pictures(others) if others is not None else []
    bundle = load_bundle(resolve_model_path(model))

    from rich.console import Console
    from rich.progress import Progress

    import_tensorflow()
    from monitor.learning.evaluate.corruptions import CORRUPTIONS
    from monitor.learning.evaluate.evaluator import as_document, explain_image, to_json
    from monitor.learning.evaluate.evaluator import evaluate as run
    from monitor.learning.evaluate.html_report import ReportHeader
    from monitor.learning.evaluate.html_report import report as written
    from monitor.learning.evaluate.model_under_test import load_model_under_test
    from monitor.learning.evaluate.tables import markdown, tables

    network = load_model_under_test(bundle, device=device)
    corruptions = CORRUPTIONS if robustness else ()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(samples) * (1 + len(corruptions)) + len(strange))
        evaluation = run(
            network,
            samples,
            corruptions=corruptions,
            others=strange,
            advance=lambda state: progress.update(task, advance=1, description=state),
        )
    document: dict[str, Any] = as_document(evaluation, network)
    extra: list[Table] = []
    if explanations:
        worth, table = _compared(bundle, samples, console)
        document["explanations"] = to_json(worth)
        extra.append(table)
    if report is not None:
        surfaces = ", ".join(dict.fromkeys(sample.surface for sample in samples))
        about = ReportHeader(
            model=f"{network.name} ({network.sha256[:12]})",
            data=f"{surfaces}, {split}: {len(samples)} pictures",
            command=shlex.join(["defect-monitor", *sys.argv[1:]]),
            when=date.today().isoformat(),
        )
        _write(
            report, written(evaluation, about, lambda one: explain_image(network, one.sample), extra=extra)
        )
    if as_json:
        print(json.dumps(document, indent=2, allow_nan=False))
    elif as_markdown:
        print("\n".join(markdown(one) for one in (*tables(evaluation), *extra)), end="")
    else:
        _show([*tables(evaluation), *extra])
        if report is not None:
            print(f"report: {report}")


def _compared(
    bundle: "ModelBundle", samples: "Sequence[Sample]", console: "Console"
) -> "tuple[list[CamScore], Table]":
    """Every method of explanation on the defects of `samples`."""
    from rich.progress import Progress

    from monitor.learning.evaluate.cam_comparison import as_table, cam_variants, compare_cams

    methods = cam_variants()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("explanations", total=len(methods))
        worth = compare_cams(
            bundle, samples, methods, advance=lambda name: progress.update(task, advance=1, description=name)
        )
    return worth, as_table(worth)


def _pictures(others: str) -> "list[Sample]":
    """The pictures in a folder, at any depth, or of a glob, as samples without a label."""
    from monitor.errors import DataError, printable
    from monitor.imaging.folders import find_images
    from monitor.learning.datasets import Sample

    found = find_images(others, recursive=True)
    if not found.images:
        raise DataError(f"there are no pictures at {others}")
    if found.others:
        print(printable(f"not used in {others}: {found.others_summary}"), file=sys.stderr)
    return [Sample(path, printable(path.parent.name), "other", defective=False) for path in found.images]


def _show(found: "Sequence[Table]") -> None:
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    # A pipe has no width of its own: a table there is as wide as it needs.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    for one in found:
        drawn = Drawn(title=one.title, title_justify="left", title_style="bold")
        for index, name in enumerate(one.header):
            drawn.add_column(name, justify="left" if index == 0 else "right")
        for row in one.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(drawn)
        if one.note:
            console.print(one.note, style="dim", highlight=False)
        console.print()


def _refuse_unwritable(report: Path) -> None:
    """Minutes of work should not end in a page that has nowhere to go."""
    if report.is_dir():
        raise _unwritable(report, "it is a folder")
    if not report.parent.is_dir():
        raise _unwritable(report, f"there is no folder {report.parent}")
    if not os.access(report if report.exists() else report.parent, os.W_OK):
        raise _unwritable(report, "permission denied")


def _write(report: Path, page: str) -> None:
    try:
        report.write_text(page, "utf-8", errors="backslashreplace")  # names of files that are not UTF-8
    except OSError as error:
        raise _unwritable(report, error.strerror or str(error)) from error


def _unwritable(report: Path, why: str) -> Exception:
    from monitor.errors import UsageError

    return UsageError(f"the report cannot be written to {report}: {why}")
