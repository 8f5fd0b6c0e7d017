"""`defect-monitor dataset`: labelled frames as folders to train on."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Turn labelled frames of an archive into a dataset.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Turn labelled frames of an archive into a dataset."""


@app.command("export")
def export(
    *,
    archive: Annotated[Path, typer.Option(help="Folder of the archive.")],
    out: Annotated[Path, typer.Option(help="Write the dataset to this folder.")],
    holdout: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Fraction of incidents to set aside for a test; never trained on."),
    ] = 0.2,
    camera: Annotated[str | None, typer.Option(help="Export the frames of this camera alone.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
) -> None:
    """Write the labelled frames of an archive as `good/`, a folder for each kind of defect, and `masks/`.

    The same labels give the same folder, byte for byte. `manifest.json` holds the hash, camera, time,
    group, labels and side of the split of each image; `train` and `evaluate` follow it, and refuse a folder
    that does not fit it.
    """
    from monitor.learning.datasets.export import export_dataset

    found = export_dataset(archive, out, holdout=holdout, camera=camera, overwrite=overwrite)
    for line in found.lines():
        print(line)
    print(f"dataset: {out}")
