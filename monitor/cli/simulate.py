"""`defect-monitor simulate`: surfaces with known defects, as a data set or a video."""

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    *,
    out: Annotated[Path, typer.Option(help="Write a data set to this folder, or a video to FILE.mp4.")],
    frames: Annotated[
        int, typer.Option(min=1, help="Number of images; a fifth of a data set goes to Test.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Seed; the same seed and size give the same images.")] = 0,
    defect_rate: Annotated[float, typer.Option(help="Probability of a defect in an image, 0 to 1.")] = 0.05,
    width: Annotated[int, typer.Option(help="Width of an image in pixels.")] = 512,
    height: Annotated[int, typer.Option(help="Height of an image in pixels.")] = 512,
    textures: Annotated[int, typer.Option(help="Number of different surfaces.")] = 16,
    surface: Annotated[
        str,
        typer.Option(help="`pattern` with blurred patches, as DAGM's Class1, or `brushed` with scratches."),
    ] = "pattern",
    fps: Annotated[float, typer.Option(help="Frames per second of a video.")] = 15,
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier run wrote.")] = False,
) -> None:
    """Write simulated surfaces with known defects to OUT.

    A folder gets OUT/Simulated in the layout of the DAGM competition. A video gets a file beside it with one
    line of JSON per frame, which holds the true ellipses.
    """
    from rich.console import Console
    from rich.progress import Progress

    from monitor.errors import UsageError
    from monitor.simulate.surface import SurfaceGenerator
    from monitor.simulate.writers import write_dataset, write_video

    kind = out.suffix.lower()
    if kind in {".avi", ".h264", ".mkv", ".mov", ".webm"}:
        raise UsageError(f"videos are written as .mp4 only, not {kind}")
    line = SurfaceGenerator(seed, width, height, defect_rate, textures, surface=surface)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Simulating", total=frames)

        def on_written() -> None:
            progress.advance(task)

        if kind == ".mp4":
            target = out
            defective = write_video(line, out, fps, frames, replace=force, on_written=on_written)
        else:
            target = out / "Simulated"
            test = frames // 5
            defective = write_dataset(
                line, out, train=frames - test, test=test, replace=force, on_written=on_written
            )
    print(f"{frames} images, {defective} of them defective: {target}")
