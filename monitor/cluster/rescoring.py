"""Score an archive again with a new model: here, or on all machines of a Ray cluster.

Frames go in blocks through a `FrameScorer`, and each block that comes back is stored at once. A run that was
killed scores only the frames that have no score yet.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from monitor.capture.sources.address import redact_url
from monitor.cluster.archive_frames import (
    ArchivedFrame,
    ArchiveListing,
    archive_failure,
    list_archive,
)
from monitor.cluster.frame_scorer import FRAMES, FrameScorer, PackedModelScorer, ScoringOptions
from monitor.cluster.rescore_report import build_report
from monitor.cluster.score_store import ScoreStore
from monitor.errors import ClusterError, MonitorError, UsageError, first_line
from monitor.models.bundle import ModelBundle
from monitor.models.packing import pack_bundle

_BLOCK = 64
"""Frames that one worker scores at a time: what a worker that dies has to repeat."""


_PART = 1024
"""Frames in one file of scores."""


_PART_SECONDS = 20.0
"""Seconds after which scores are stored also if they are fewer: what a kill of this process repeats."""


Score = Callable[[Sequence[pa.Table]], Iterator[pa.Table]]
"""Scores blocks of frames (`FRAMES`) and yields their scores (`SCORES`) as they come, in any order."""


@dataclass(frozen=True, slots=True)
class RayOptions:
    """The cluster: `address` is `local` for one on this machine, `auto`, `HOST:PORT` or `ray://HOST:10001`.

    Each of at most `workers` actors loads the model and uses `cpus` cores or, with `gpus`, that much of one.
    """

    address: str
    workers: int = 2
    cpus: float = 1
    gpus: float = 0


def rescore(
    archive: str,
    bundle: ModelBundle,
    out: Path,
    options: ScoringOptions,
    *,
    good: str = "good",
    ray: RayOptions | None = None,
    on_scored: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, Any], Path]:
    """Score every frame of `archive` with `bundle`; return the report and the folder of the results.

    With `ray` the cluster scores, else this process. The result is the same. `on_scored` receives the number
    of frames that have a score and that of all. Raises MonitorError.
    """
    if "://" not in archive:
        archive = str(Path(archive).resolve())  # actors have other working folders
    listing = list_archive(archive, good=good)
    _refuse_unknown_cameras(listing, options)
    card = bundle.card
    store = ScoreStore(
        out,
        card.model.sha256,
        {
            "tiling": asdict(options.tiling),
            "camera tilings": {name: asdict(it) for name, it in options.camera_tilings.items()},
            "bit depth": options.bit_depth,
            "novelty detector": card.familiarity and card.familiarity.sha256,
            "kinds": card.kinds and card.kinds.sha256,
        },
    )
    try:
        remaining = store.unscored(listing.frames)
        done = total = len(listing.frames)
        done -= len(remaining)
        on_scored(done, total)
        if remaining:
            score = (
                partial(_score_here, archive, bundle, options)
                if ray is None
                else partial(_score_on_ray, archive, bundle, options, ray)
            )
            for scores in _gather(score(_blocks(remaining))):
                store.append(scores)
                done += len(scores)
                on_scored(done, total)
        table, repeated = store.finish(listing.frames, card.threshold)
        report = {
            "archive": redact_url(archive),
            "files": total,
            "repeated": repeated,
            "events_without_frame": listing.events_without_frame,
            **build_report(table, card, store.folder),
        }
        store.write_report(report)
    except OSError as error:
        raise archive_failure(archive, "read", error) from error
    finally:
        store.close()
    return report, store.folder


def _refuse_unknown_cameras(listing: ArchiveListing, options: ScoringOptions) -> None:
    """Raise where a camera's tiles are not known: cut otherwise, its frames would get meaningless scores."""
    cameras = {frame.camera or "" for frame in listing.frames}
    unknown = sorted(cameras - options.camera_tilings.keys())
    if options.camera_tilings and unknown:
        whose = f"the camera {unknown[0]}" if unknown[0] else "frames without an event"
        raise UsageError(f"the settings have no tiles for {whose}: choose a camera's with --camera")


def _blocks(frames: Sequence[ArchivedFrame]) -> list[pa.Table]:
    rows = [{name: getattr(frame, name) for name in FRAMES.names} for frame in frames]
    return [
        pa.Table.from_pylist(rows[start : start + _BLOCK], schema=FRAMES)
        for start in range(0, len(rows), _BLOCK)
    ]


def _gather(blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Join blocks of scores into files of useful size."""
    held: list[pa.Table] = []
    stored_at = time.monotonic()
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= _PART or time.monotonic() - stored_at > _PART_SECONDS:
            yield pa.concat_tables(held)
            held, stored_at = [], time.monotonic()
    if held:
        yield pa.concat_tables(held)


def _score_here(
    archive: str, bundle: ModelBundle, options: ScoringOptions, blocks: Sequence[pa.Table]
) -> Iterator[pa.Table]:
    yield from map(FrameScorer(archive, options.load(bundle), options), blocks)


def _score_on_ray(
    archive: str,
    bundle: ModelBundle,
    options: ScoringOptions,
    cluster: RayOptions,
    blocks: Sequence[pa.Table],
) -> Iterator[pa.Table]:
    """Score on a cluster: Ray gives blocks to actors, replaces actors that die, and repeats their blocks."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the plant
    try:
        import ray  # noqa: PLC0415 (never imported unless a cluster is named)
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise ClusterError("Ray is not installed: run `pip install 'defect-monitor[ray]'`") from error
    # A cluster that starts here lasts as long as the run: its dashboard would only be a door.
    started_here: dict[str, Any] = {"include_dashboard": False} if cluster.address == "local" else {}
    try:
        ray.init(cluster.address, log_to_driver=False, logging_level="error", **started_here)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"the Ray cluster {cluster.address} is out of reach: {first_line(error)}"
        ) from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        options = replace(options, threads=max(1, int(cluster.cpus)))
        scores = ray.data.from_arrow(list(blocks)).map_batches(
            PackedModelScorer,
            fn_constructor_args=(archive, pack_bundle(bundle), options),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=cluster.workers),
            num_cpus=cluster.cpus,
            num_gpus=cluster.gpus,
        )
        yield from scores.iter_batches(batch_size=None, batch_format="pyarrow")
    except ray.exceptions.RayError as error:
        raise _as_monitor_error(error, cluster.address) from error
    finally:
        ray.shutdown()


def _as_monitor_error(error: BaseException, address: str) -> MonitorError:
    """Return what an actor raised, which Ray wraps, or else what Ray says."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, MonitorError):
            return inner
        inner = getattr(inner, "cause", None) or inner.__cause__
    return ClusterError(f"the Ray cluster {address} failed: {str(error).strip().splitlines()[-1]}")
