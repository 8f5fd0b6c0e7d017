"""`defect-monitor rescore`: what a new model makes of the frames of an archive."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from monitor.cli.tiling import CAMERA_HELP, OVERLAP_HELP, ROI_HELP, read_tiling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.learning.datasets.tiling import Tiling


def rescore(
    *,
    archive: Annotated[
        str,
        typer.Option(help="Folder or s3:// address: of the archiver, of DAGM, or of images in folders."),
    ],
    model: Annotated[str, typer.Option(help="Name of a shipped model, or folder of a bundle.")],
    out: Annotated[Path, typer.Option(help="Folder for scores and reports; each model gets a folder in it.")],
    ray: Annotated[
        str | None,
        typer.Option(
            help="Score on this Ray cluster: local, auto, HOST:PORT or ray://HOST:PORT. "
            "Default: in this process, without Ray."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Actors on the cluster at most.")] = 2,
    worker_cpus: Annotated[float, typer.Option(min=0, help="Cores that each of them uses.")] = 1,
    worker_gpus: Annotated[float, typer.Option(min=0, help="GPUs, or a fraction, that each uses.")] = 0,
    batch: Annotated[
        int, typer.Option(min=1, help="Inputs of one pass; more than 1 saves time on a GPU alone.")
    ] = 1,
    device: Annotated[
        Literal["auto", "gpu", "cpu"], typer.Option(help="Run the network on this device.")
    ] = "auto",
    good: Annotated[str, typer.Option(help="Name of the folder of good images.")] = "good",
    bit_depth: Annotated[
        int | None, typer.Option(min=8, max=16, help="Bits that files of 16 bits use (default: as declared).")
    ] = None,
    roi: Annotated[str | None, typer.Option(help=f"{ROI_HELP} Default: as in training.")] = None,
    tiles: Annotated[
        str | None,
        typer.Option(help="Cut each frame into ROWSxCOLUMNS tiles, such as 2x3. Default: as in training."),
    ] = None,
    overlap: Annotated[float | None, typer.Option(help=OVERLAP_HELP)] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Cut archived frames as the cameras of this configuration file do."),
    ] = None,
    camera: Annotated[str | None, typer.Option(help=f"{CAMERA_HELP} Default: that of the event.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Score the frames of an archive again with a new model, and report what it changes.

    Writes OUT/MODEL/scores.parquet, one row a frame, and report.json. A second run scores new frames only; a
    run that was killed goes on where it was.
    """
    from monitor.errors import UsageError

    if find_spec("pyarrow") is None:
        raise UsageError("rescore needs pyarrow: run `pip install 'defect-monitor[rescore]'`")
    from monitor.cluster.frame_scorer import ScoringOptions
    from monitor.cluster.rescoring import RayOptions
    from monitor.cluster.rescoring import rescore as run
    from monitor.learning.datasets.tiling import Tiling
    from monitor.models.bundle import load_bundle
    from monitor.models.registry import resolve_model_path
    from monitor.telemetry.logs import setup_logging

    setup_logging("warning", "text")
    bundle = load_bundle(resolve_model_path(model))
    of_cameras = (
        _tilings_of(like) if like is not None and (camera, roi, tiles, overlap) == (None,) * 4 else {}
    )
    tiling = None if len(of_cameras) > 1 else read_tiling(roi, tiles, overlap, like, camera)
    options = ScoringOptions(
        tiling or Tiling.of(bundle.card.training),
        of_cameras if len(of_cameras) > 1 else {},
        bit_depth,
        device,
        batch,
    )

    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("scoring", total=None)
        report, folder = run(
            archive,
            bundle,
            out,
            options,
            good=good,
            ray=None if ray is None else RayOptions(ray, workers, worker_cpus, worker_gpus),
            on_scored=lambda done, total: progress.update(task, completed=done, total=total),
        )
    print(json.dumps(report, indent=2) if as_json else "\n".join((*_summary(report), f"results: {folder}")))


def _tilings_of(path: Path) -> "Mapping[str, Tiling]":
    from monitor.learning.datasets.tiling import Tiling
    from monitor.settings.loader import load_settings

    return {it.name: Tiling.of(it) for it in load_settings(path).camera}


def _summary(report: dict[str, Any]) -> list[str]:
    model, line, labels = report["model"], report["line"], report["labels"]
    lines = [
        f"{model['name']} ({model['sha256'][:12]}), threshold {model['threshold']:.3f}",
        f"files {report['files']}: frames {report['frames']}, repeated {report['repeated']}, "
        f"unreadable {report['unreadable']}; flagged {report['defective']}, "
        f"used in training {report['used_in_training']}",
    ]
    if line is not None:
        lines.append(
            f"events of the line {line['events']}: still flagged {line['still_flagged']}, now clean "
            f"{line['now_clean']}; score differs by {line['mean_difference']:.3f} on average, by "
            f"{line['largest_difference']:.3f} at most"
        )
    if report["events_without_frame"]:
        lines.append(f"events without a raw frame, not scored: {report['events_without_frame']}")
    if labels is not None:
        auc = "unknown" if labels["auc"] is None else f"{labels['auc']:.4f}"
        lines.append(
            f"labels: misses {labels['misses']} of {labels['defects']} defects, false alarms "
            f"{labels['false_alarms']} of {labels['good']} good; AUC {auc}"
        )
    lines += [
        f"against {other['model'][:12]} on {other['frames']} frames: both flag {other['both_flag']}, "
        f"only this {other['only_this']}, only the other {other['only_other']}"
        for other in report["models"]
    ]
    return lines
