"""`defect-monitor train`: from labelled images to a model bundle."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.tiling import AUTO, CAMERA_HELP, LIKE_HELP, OVERLAP_HELP, ROI_HELP, read_tiling


def train(
    *,
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder with surfaces: DAGM in either layout, or good/ beside folders of defects. "
            "Repeat the option for more."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Write the model bundle to this folder.")],
    classes: Annotated[
        str,
        typer.Option(help="Train on these classes, separated by commas. Default: all."),
    ] = "",
    init: Annotated[
        str,
        typer.Option(
            help="Start from these weights: an .npz file, `imagenet` (downloaded) or `none`. A bundle is "
            "fine-tuned: it keeps what it has learnt, and learns the new images in one pass."
        ),
    ] = "imagenet",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of epochs. Default: the recipe's; fewer in tiles."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            help="`default` trains all layers, `frozen` the last one alone, `article` as the original; "
            "`auto` chooses between the first two by the number of defects, and fine-tunes a bundle."
        ),
    ] = AUTO,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed of the split and of every random change. Default: the recipe's."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model. Default: the folder's.")] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=1024,
            help="Side of the network's input in pixels, a multiple of 8. Default: that of a bundle to "
            "fine-tune, or 224.",
        ),
    ] = None,
    test_share: Annotated[
        float,
        typer.Option(
            min=0, max=0.9, help="Fraction of undivided data to set aside for a test; never trained on."
        ),
    ] = 0.0,
    good: Annotated[str, typer.Option(help="Name of the folder of good images.")] = "good",
    masks: Annotated[str, typer.Option(help="Name of the folders of masks.")] = "masks",
    mask_suffix: Annotated[
        str | None, typer.Option(help="Suffix of masks that lie beside their images, such as .png.")
    ] = None,
    bit_depth: Annotated[
        int | None, typer.Option(min=8, max=16, help="Bits that files of 16 bits use (default: as declared).")
    ] = None,
    roi: Annotated[str | None, typer.Option(help=ROI_HELP)] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            help="Cut each frame into ROWSxCOLUMNS tiles, such as 2x3; `auto` chooses by the size of defects."
            " Default: tiles where they measure better than the whole frame."
        ),
    ] = None,
    overlap: Annotated[float | None, typer.Option(help=OVERLAP_HELP)] = None,
    like: Annotated[Path | None, typer.Option(help=LIKE_HELP)] = None,
    camera: Annotated[str | None, typer.Option(help=CAMERA_HELP)] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Regular expression for the part or lot in a file name; images of one stay on one side of "
            "every split."
        ),
    ] = None,
    kinds: Annotated[
        bool, typer.Option("--kinds", help="Let events name the kind of defect, after its folder.")
    ] = False,
    miss_cost: Annotated[float, typer.Option(help="Cost of a missed defect, in any unit.")] = 100.0,
    alarm_cost: Annotated[float, typer.Option(help="Cost of a false alarm, in the same unit.")] = 1.0,
    prevalence: Annotated[float, typer.Option(help="Expected fraction of defective frames.")] = 0.02,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model.")] = False,
) -> None:
    """Train a network on labelled images and write it as a model bundle.

    An interrupted training leaves the best model so far; the same command with --resume continues.
    """
    from monitor.errors import UsageError, printable
    from monitor.inference.device import make_deterministic, prepare_gpus
    from monitor.learning.datasets import FolderLayout, audit, read_samples
    from monitor.learning.datasets.tiling import Tiling
    from monitor.learning.train.recipe import FROZEN, recipe_named
    from monitor.learning.train.start import bundle_to_tune, find_start, keep_geometry

    if size is not None and size % 8:
        raise UsageError(f"--size must be a multiple of 8, not {size}")
    init = find_start(init)
    start = bundle_to_tune(init) if recipe in {AUTO, FROZEN.name} and epochs is None else None
    has_features = init != "none" and recipe != "article"
    recipe_settings = FROZEN if start else recipe_named("default" if recipe == AUTO else recipe)
    recipe_settings = replace(
        recipe_settings,
        epochs=recipe_settings.epochs if epochs is None else epochs,
        seed=recipe_settings.seed if seed is None else seed,
    )
    tiling = read_tiling(roi, tiles, overlap, like, camera)
    input_size = (size or 224, size or 224)
    if start is not None:
        tiling, input_size = keep_geometry(start, tiling, size)
    layout = FolderLayout(good, masks, mask_suffix)
    names = [word.strip() for word in classes.split(",") if word.strip()]
    samples = read_samples(
        data, names, layout=layout, test_share=test_share, group=group, bit_depth=bit_depth
    )

    from rich.console import Console

    console = Console()
    found = audit(samples)
    for line in found.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    found.raise_if_unusable()
    if found.duplicates_to_skip:
        console.print(
            f"{len(found.duplicates_to_skip)} repeated images are left out", highlight=False, soft_wrap=True
        )
    samples = [sample for sample in samples if sample.path not in found.duplicates_to_skip]

    prepare_gpus()
    from monitor.cli.training_progress import ConsoleProgress
    from monitor.learning.evaluate.costs import Costs
    from monitor.learning.train.config import TrainingConfig
    from monitor.learning.train.trainer import train as run

    make_deterministic()
    config = TrainingConfig(
        name=printable(name or out.resolve().name),
        out=out,
        recipe=recipe_settings,
        init=init,
        size=input_size,
        command=printable(shlex.join(["defect-monitor", *sys.argv[1:]])),
        overwrite=overwrite,
        tiling=tiling or Tiling(),
        auto_tiles=tiles == AUTO,
        fine_tuned=start is not None,
        measured=has_features and tiling is None,
        may_freeze=has_features and recipe == AUTO and epochs is None,
        kinds=kinds,
        costs=Costs(miss_cost, alarm_cost, prevalence),
        group=group,
    )
    try:
        with ConsoleProgress(console) as observer:
            bundle = run(
                [sample for sample in samples if sample.split == "Train"],
                config,
                test=[sample for sample in samples if sample.split == "Test"],
                resume=resume,
                observer=observer,
            )
    except KeyboardInterrupt:
        print(f"stopped: {out} holds the best model so far, --resume continues", file=sys.stderr)
        raise typer.Exit(130) from None
    console.print(
        f"{out}: threshold {bundle.card.threshold}, {bundle.card.threshold_origin}",
        highlight=False,
        soft_wrap=True,
    )
    for figure, value in bundle.card.figures.items():
        console.print(f"  {figure.replace('_', ' ')}: {value:g}", highlight=False, soft_wrap=True)
