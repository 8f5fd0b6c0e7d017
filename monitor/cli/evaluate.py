"""`defect-monitor evaluate`: how far a model can be trusted."""

import json
import sys
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from monitor.cli.evaluation_output import (
    command_line,
    is_divided,
    progress,
    refuse_unwritable,
    show_tables,
    write_report,
)
from monitor.cli.tiling import AUTO, CAMERA_HELP, LIKE_HELP, OVERLAP_HELP, ROI_HELP, read_tiling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from monitor.learning.datasets import Sample
    from monitor.learning.datasets.tiling import Tiling
    from monitor.learning.evaluate.cam_variants import CamScore
    from monitor.learning.evaluate.evaluator import Evaluation, ExplainedImage, ImageResult
    from monitor.learning.evaluate.model_under_test import ModelUnderTest
    from monitor.learning.evaluate.tables import Table
    from monitor.models.bundle import ModelBundle


def evaluate(  # noqa: PLR0915 (its late imports count as statements)
    *,
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder with surfaces: DAGM in either layout, or good/ beside folders of defects. "
            "Repeat the option for more."
        ),
    ],
    model: Annotated[
        str, typer.Option(help="Name of a shipped model, or folder of a bundle.")
    ] = "dagm-class1",
    classes: Annotated[
        str, typer.Option(help="Evaluate these classes, separated by commas. Default: all.")
    ] = "",
    split: Annotated[
        Literal["Train", "Test", "all"] | None,
        typer.Option(help="Evaluate this part of the data. Default: Test, or all where data are undivided."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write a report with images to this HTML file.")] = None,
    robustness: Annotated[
        bool, typer.Option(help="Classify the images again after noise, blur, coding, light and geometry.")
    ] = True,
    explanations: Annotated[
        bool, typer.Option("--explanations", help="Compare the explanation methods; takes minutes.")
    ] = False,
    others: Annotated[
        str | None,
        typer.Option(help="Images of surfaces that the model does not know: a folder, or a glob in quotes."),
    ] = None,
    test_share: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Fraction of undivided data that training set aside as Test."),
    ] = 0.0,
    good: Annotated[str, typer.Option(help="Name of the folder of good images.")] = "good",
    masks: Annotated[str, typer.Option(help="Name of the folders of masks.")] = "masks",
    mask_suffix: Annotated[
        str | None, typer.Option(help="Suffix of masks that lie beside their images, such as .png.")
    ] = None,
    bit_depth: Annotated[
        int | None, typer.Option(min=8, max=16, help="Bits that files of 16 bits use (default: as declared).")
    ] = None,
    roi: Annotated[str | None, typer.Option(help=f"{ROI_HELP} Default: as in training.")] = None,
    tiles: Annotated[
        str | None,
        typer.Option(help="Cut each frame into ROWSxCOLUMNS tiles, such as 2x3. Default: as in training."),
    ] = None,
    overlap: Annotated[float | None, typer.Option(help=OVERLAP_HELP)] = None,
    like: Annotated[Path | None, typer.Option(help=LIKE_HELP)] = None,
    camera: Annotated[str | None, typer.Option(help=CAMERA_HELP)] = None,
    group: Annotated[
        str | None, typer.Option(help="Regular expression for part or lot that training divided by.")
    ] = None,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Leave out images that the model was trained or tuned on.")
    ] = False,
    miss_cost: Annotated[float, typer.Option(help="Cost of a missed defect, for the report.")] = 100.0,
    alarm_cost: Annotated[float, typer.Option(help="Cost of a false alarm, for the report.")] = 1.0,
    prevalence: Annotated[float, typer.Option(help="Expected fraction of defective frames.")] = 0.02,
    device: Annotated[
        Literal["auto", "gpu", "cpu"], typer.Option(help="Run the network on this device.")
    ] = "auto",
) -> None:
    """Measure a model on labelled images: classification, localisation, robustness, unknown surfaces."""
    from monitor.errors import UsageError
    from monitor.inference.device import import_tensorflow
    from monitor.learning.datasets import FolderLayout, read_samples
    from monitor.learning.evaluate.costs import Costs
    from monitor.models.bundle import load_bundle
    from monitor.models.registry import resolve_model_path

    if as_json and as_markdown:
        raise UsageError("--json and --markdown exclude each other: give one of them")
    if report is not None:
        refuse_unwritable(report)
    if tiles == AUTO:
        raise UsageError("--tiles auto is for training; evaluate cuts frames as in training by default")
    costs = Costs(miss_cost, alarm_cost, prevalence)
    tiling = read_tiling(roi, tiles, overlap, like, camera)
    names = [word.strip() for word in classes.split(",") if word.strip()]

    read = partial(
        read_samples,
        data,
        names,
        layout=FolderLayout(good, masks, mask_suffix),
        test_share=test_share,
        group=group,
        bit_depth=bit_depth,
    )
    split = split or ("Test" if is_divided(read()) else "all")
    samples = read(split=None if split == "all" else split)
    unknown = _unlabelled(others, bit_depth) if others is not None else []
    bundle = load_bundle(resolve_model_path(model))

    from rich.console import Console

    import_tensorflow()
    from monitor.learning.evaluate.corruptions import CORRUPTIONS
    from monitor.learning.evaluate.evaluator import as_document, to_json
    from monitor.learning.evaluate.evaluator import evaluate as run
    from monitor.learning.evaluate.html_report import ReportHeader
    from monitor.learning.evaluate.html_report import report as written
    from monitor.learning.evaluate.model_under_test import load_model_under_test
    from monitor.learning.evaluate.tables import markdown, tables

    network = load_model_under_test(bundle, device=device, tiling=tiling)
    samples = _without_used(samples, network.trained_on | network.validated_on) if unseen else samples
    corruptions = CORRUPTIONS if robustness else ()
    console = Console(stderr=True)
    total = len(samples) * (1 + len(corruptions)) + len(unknown)
    with progress(console, total) as advance:
        evaluation = run(network, samples, corruptions=corruptions, others=unknown, advance=advance)
    _warn_of_used(evaluation)
    document: dict[str, Any] = as_document(evaluation, network)
    extra: list[Table] = []
    if explanations:
        worth, table = _compared(bundle, _in_tiles(samples, network.tiling), console)
        document["explanations"] = to_json(worth)
        extra.append(table)
    if report is not None:
        surfaces = ", ".join(dict.fromkeys(sample.surface for sample in samples))
        data_line = f"{surfaces}, {split}: {len(samples)} images"
        header = ReportHeader(
            f"{network.name} ({network.sha256[:12]})", data_line, command_line(), date.today().isoformat()
        )
        explain = partial(_explained, network)
        write_report(report, written(evaluation, header, explain, extra=extra, costs=costs))
    found = [*tables(evaluation), *extra]
    if as_json:
        print(json.dumps(document, indent=2, allow_nan=False))
    elif as_markdown:
        print("\n".join(markdown(one) for one in found), end="")
    else:
        show_tables(found)
        if report is not None:
            print(f"report: {report}")


def _explained(network: "ModelUnderTest", result: "ImageResult") -> "ExplainedImage":
    from monitor.learning.evaluate.evaluator import explain_image

    return explain_image(network, result.sample)


def _warn_of_used(evaluation: "Evaluation") -> None:
    used = sum(one.used is not None for one in evaluation.results)
    if used:
        print(
            f"warning: the model was made from {used} of these {len(evaluation.results)} images, so that "
            "the figures are too good; --unseen leaves them out",
            file=sys.stderr,
        )


def _without_used(samples: "Sequence[Sample]", used: frozenset[str]) -> "list[Sample]":
    """The samples whose images the model's training did not use; raises `DataError` if that is none."""
    from monitor.errors import DataError
    from monitor.learning.datasets.fingerprint import image_hashes

    hashes = image_hashes(samples)
    found = [sample for sample, content in zip(samples, hashes, strict=True) if content not in used]
    if not found:
        raise DataError("the model was trained or tuned on all of these images: none is left to evaluate")
    return found


def _in_tiles(samples: "Sequence[Sample]", tiling: "Tiling") -> "list[Sample]":
    """What the network sees of the frames: their tiles, or the frames themselves."""
    from monitor.learning.datasets.tiling import read_truth, tiles_of

    return [tile for frame in tiles_of([read_truth(one) for one in samples], tiling) for tile in frame]


def _compared(
    bundle: "ModelBundle", samples: "Sequence[Sample]", console: "Console"
) -> "tuple[list[CamScore], Table]":
    """Compare every explanation method on the defects of `samples`."""
    from monitor.learning.evaluate.cam_comparison import compare_cams
    from monitor.learning.evaluate.cam_variants import as_table, cam_variants

    methods = cam_variants()
    with progress(console, len(methods)) as advance:
        worth = compare_cams(bundle, samples, methods, advance=advance)
    return worth, as_table(worth)


def _unlabelled(others: str, bit_depth: int | None) -> "list[Sample]":
    """The images in a folder, at any depth, or of a glob, as samples without a label."""
    from monitor.errors import DataError, printable
    from monitor.imaging.folders import find_images
    from monitor.learning.datasets import Sample

    found = find_images(others, recursive=True)
    if not found.images:
        raise DataError(f"there are no images at {others}")
    if found.others:
        print(printable(f"not used in {others}: {found.others_summary}"), file=sys.stderr)
    return [
        Sample(path, printable(path.parent.name), "other", defective=False, bit_depth=bit_depth)
        for path in found.images
    ]
