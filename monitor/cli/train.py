"""`defect-monitor train`: from labelled pictures to a model bundle."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def train(
    *,
    data: Annotated[
        list[Path],
        typer.Option(
            help="Folder with classes of surface: DAGM in either layout, or good/ beside folders of defects. "
            "May be given several times."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the model bundle to.")],
    classes: Annotated[
        str,
        typer.Option(help="Names of the classes to train on, divided by commas; all that are there if none."),
    ] = "",
    init: Annotated[
        str,
        typer.Option(
            help="Where weights start: an .npz file, a bundle's folder, `imagenet` (downloaded) or `none`."
        ),
    ] = "imagenet",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="How often each picture is seen; the recipe's number if not given."),
    ] = None,
    recipe: Annotated[str, typer.Option(help="`default`, or `article` for the original one.")] = "default",
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Decides the split and every change; the recipe's if not given."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the folder's if not given.")] = None,
    size: Annotated[
        int, typer.Option(min=32, max=1024, help="Side of the network's input in pixels, a multiple of 8.")
    ] = 224,
    test_share: Annotated[
        float,
        typer.Option(
            min=0, max=0.9, help="Share of undivided data to set aside for a test, never trained on."
        ),
    ] = 0.0,
    good: Annotated[str, typer.Option(help="Name of the folder of good pictures.")] = "good",
    masks: Annotated[str, typer.Option(help="Name of folders of masks.")] = "masks",
    mask_suffix: Annotated[
        str | None, typer.Option(help="Suffix of masks that lie beside their pictures, such as .png.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there.")] = False,
) -> None:
    """Train a network on labelled pictures and write it as a model bundle.

    An interrupted training leaves the best model so far; the same command with --resume goes on.
    """
    from monitor.errors import UsageError, printable
    from monitor.inference.device import import_tensorflow, make_deterministic
    from monitor.learning.datasets import FolderLayout, audit, read_samples
    from monitor.learning.train.recipe import recipe_named

    if size % 8:
        raise UsageError(f"--size is a multiple of 8, not {size}")
    chosen = recipe_named(recipe)
    chosen = replace(
        chosen,
        epochs=chosen.epochs if epochs is None else epochs,
        seed=chosen.seed if seed is None else seed,
    )
    layout = FolderLayout(good, masks, mask_suffix)
    wanted = [word.strip() for word in classes.split(",") if word.strip()]
    samples = read_samples(data, wanted, layout=layout, test_share=test_share)

    from rich.console import Console

    console = Console()
    found = audit(samples)
    for line in found.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    found.raise_if_unusable()
    if found.duplicates_to_skip:
        console.print(
            f"{len(found.duplicates_to_skip)} repeated pictures are left out", highlight=False, soft_wrap=True
        )
    samples = [sample for sample in samples if sample.path not in found.duplicates_to_skip]

    import_tensorflow()
    from monitor.cli.training_progress import ConsoleProgress
    from monitor.learning.train.trainer import TrainingConfig
    from monitor.learning.train.trainer import train as run

    make_deterministic()
    order = TrainingConfig(
        name=printable(name or out.resolve().name),
        out=out,
        recipe=chosen,
        init=init,
        size=(size, size),
        command=printable(shlex.join(["defect-monitor", *sys.argv[1:]])),
        overwrite=overwrite,
    )
    try:
        with ConsoleProgress(console) as watcher:
            bundle = run(
                [sample for sample in samples if sample.split == "Train"],
                order,
                test=[sample for sample in samples if sample.split == "Test"],
                resume=resume,
                watcher=watcher,
            )
    except KeyboardInterrupt:
        print(f"stopped: {out} holds the best model of the epochs done, --resume goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    console.print(
        f"{out}: threshold {bundle.card.threshold}, {bundle.card.threshold_origin}", highlight=False
    )
    for figure, value in bundle.card.figures.items():
        console.print(f"  {figure.replace('_', ' ')}: {value:g}", highlight=False, soft_wrap=True)
