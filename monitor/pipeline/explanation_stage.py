"""Turn a flagged frame into an event: explain, locate, annotate, publish."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from monitor.errors import InferenceError
from monitor.events.event import event_id
from monitor.imaging.annotation import HeatStyle, annotate
from monitor.imaging.jpeg import encode_jpeg, xmp_packet
from monitor.imaging.localisation import locate
from monitor.inference.handle import CAM_METHOD, CamHeat
from monitor.pipeline.flagged_queue import FlaggedQueue
from monitor.pipeline.interfaces import (
    FlaggedFrame,
    FlaggedTile,
    OnGap,
    PipelineObserver,
    frame_gap,
    ignore,
)
from monitor.pipeline.stage_timer import StageTimer
from monitor.records import Explanation, ExplanationOutcome, Finding, Heatmap, Region, TileHeatmap

logger = logging.getLogger(__name__)

QUEUE_FACTOR = 4  # `put` blocks at this multiple of the queue limit


@dataclass(frozen=True, slots=True)
class ExplanationConfig:
    """How flagged frames are explained and located.

    A frame of a live camera is refined only if that takes at most the fraction `budget` (0..1; 1: always) of
    the time between two frames, not later than `deadline` seconds after capture, and not while more than
    `queue_limit` frames are queued. `minimum_area` is a fraction of a tile's area. The frame's handle
    supplies the settings of the model. `cameras` tells which cameras differ from `enabled`.
    """

    enabled: bool = True
    minimum_area: float = 0.0005
    budget: float = 1.0
    deadline: float = float("inf")
    queue_limit: int = 32
    heat_style: HeatStyle = "overlay"
    jpeg_quality: int = 85
    raw_frames: bool = False
    cameras: Mapping[str, bool] = field(default_factory=dict)


Publish = Callable[[Finding, FlaggedFrame, bytes | None, bytes | None], None]
"""Receives a finding, the annotated frame and, if configured, the original frame, both as JPEG."""


class ExplanationStage:
    """Turn every flagged frame into an event, one after another, in parallel to the inference loop.

    Every flagged frame gets heat from the activations of its classification, which costs no forward pass.
    Faster-Score-CAM refines it where the source waits, or where no verdict of a live camera is late for it.
    The event names the method and the number of maps. At four times `queue_limit`, or above `queue_bytes`,
    `put` blocks: no flagged frame is dropped, and memory stays bounded. Where explaining or drawing fails,
    the event has no result and names the reason. `clock` is the clock of the frames' `monotonic`, in seconds.
    `config` is in force now.
    """

    def __init__(
        self,
        config: ExplanationConfig,
        publish: Publish,
        on_gap: OnGap,
        observer: PipelineObserver,
        *,
        queue_bytes: int = 256_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._publish = publish
        self._on_gap = on_gap
        self._observer = observer
        self._queue_bytes = queue_bytes
        self._clock = clock
        self._queue = FlaggedQueue(QUEUE_FACTOR * config.queue_limit, queue_bytes)
        self._stopping = False
        self.last_heartbeat = time.monotonic()

    def configure(self, config: ExplanationConfig) -> None:
        """Explain by `config` from the next frame on; the bounds of the queue stay. For any thread."""
        self.config = config

    def put(self, flagged: FlaggedFrame, heartbeat: Callable[[], None] = ignore) -> None:
        """Take over a flagged frame. While the queue is full, this blocks and calls `heartbeat`."""
        if not self._queue.put(flagged, heartbeat):
            self._report_lost(flagged, "stopping")

    @property
    def queued(self) -> int:
        """Flagged frames that are queued."""
        return len(self._queue)

    def is_backlogged(self) -> bool:
        """Return whether more flagged frames are queued than can be explained in time."""
        return (
            len(self._queue) > self.config.queue_limit
            or QUEUE_FACTOR * self._queue.nbytes > self._queue_bytes
        )

    def skip_explanations(self) -> None:
        """Refine no heat from now on, because no time is left for it."""
        self._stopping = True

    def close(self) -> None:
        """Announce that no more flagged frames follow; `run` returns when the queue is empty."""
        self._queue.close()

    def drop_queued(self, cause: str) -> None:
        """Report every flagged frame that has no event as a gap: the loop has failed or takes too long."""
        for flagged in self._queue.drain():
            self._report_lost(flagged, cause)

    def run(self) -> None:
        """Make events of flagged frames until `close`."""
        while not self._queue.is_finished:
            if (flagged := self._queue.take(0.1)) is not None:
                self.process(flagged)
            self.last_heartbeat = time.monotonic()

    def process(self, flagged: FlaggedFrame) -> None:
        """Explain, locate, annotate and publish one flagged frame."""
        config, frame = self.config, flagged.frame
        timer = StageTimer(frame.monotonic + sum(flagged.latency.values()), self._clock)
        timer.mark("wait")
        explanation = self._explain(flagged)
        timer.mark("explain")
        explanation, heat, regions = self._locate(flagged, explanation)
        timer.mark("locate")
        draw = partial(self._draw, flagged, heat, regions, explanation.reason)
        jpeg = _attempt("annotating", flagged, draw)
        raw = None
        if config.raw_frames:
            raw = _attempt("encoding", flagged, partial(encode_jpeg, frame.image, config.jpeg_quality))
        timer.mark("annotate")
        finding = Finding(
            frame=frame,
            verdict=flagged.verdict,
            explanation=explanation,
            regions=regions,
            latency={**flagged.latency, **timer.durations},
        )
        if not self._queue.release() or not self._hand_over(finding, flagged, jpeg, raw):
            return
        # Counted only now: every defect in the metrics has been handed to the publisher.
        for stage, seconds in timer.durations.items():
            self._observer.on_stage(frame.camera, stage, seconds)
        self._observer.on_explanation(frame.camera, explanation.outcome)
        self._observer.on_outcome(frame.camera, "defect")

    def _hand_over(
        self, finding: Finding, flagged: FlaggedFrame, jpeg: bytes | None, raw: bytes | None
    ) -> bool:
        """Publish a finding, if necessary without its explanation; report a frame without event as a gap."""
        try:
            self._publish(finding, flagged, jpeg, raw)
        except Exception as error:
            _log_failure("publishing", flagged, error)
            bare = replace(finding, explanation=_nothing(_describe("publishing", error)), regions=())
            try:
                self._publish(bare, flagged, None, None)
            except Exception as second:
                _log_failure("publishing", flagged, second)
                self._report_lost(flagged, "fault", _describe("publishing its event", second))
                return False
        return True

    def _report_lost(
        self, flagged: FlaggedFrame, cause: str, reason: str = "no event was made of it"
    ) -> None:
        detail = f"{flagged.verdict.label}, score {flagged.verdict.score:.3f}: {reason}"
        self._on_gap(frame_gap(flagged.frame, cause, detail))

    def _explain(self, flagged: FlaggedFrame) -> Explanation:
        config = self.config
        if not config.cameras.get(flagged.frame.camera, config.enabled):
            return Explanation("none", 0, "skipped", reason="explanations are switched off")
        heats = []
        try:
            for tile in flagged.tiles:
                heats.append((tile, *self._heat(flagged, tile)))
        except InferenceError as error:
            return _nothing(str(error))
        except Exception as error:
            _log_failure("explaining", flagged, error)
            return _nothing(_describe("explaining", error))
        # The event reports one method and map count for all tiles: those of the least refined tile.
        least = min(
            (heat for _, heat, _ in heats), key=lambda heat: (heat.method == CAM_METHOD, heat.maps_used)
        )
        outcome: ExplanationOutcome = "full" if all(complete for _, _, complete in heats) else "reduced"
        found = tuple(
            TileHeatmap(heat.heatmap, tile.box, heat.peak, tile.score, heat.extents)
            for tile, heat, _ in heats
            if heat.peak > 0
        )
        reason = None if found else "the heat is flat, zero or not a number"
        return Explanation(least.method, least.maps_used, outcome, found, reason)

    def _heat(self, flagged: FlaggedFrame, tile: FlaggedTile) -> tuple[CamHeat, bool]:
        """Explain one tile; return the heat, and whether all requested maps were scored."""
        complete: bool | None = None

        def proceed() -> bool:
            nonlocal complete
            self.last_heartbeat = time.monotonic()
            complete = not self._stopping and (flagged.frame.source_waits or self._has_time(flagged))
            return complete

        heat = flagged.handle.explain(tile.image, tile.evidence, proceed)
        if complete is None:  # the model did not ask: it cannot refine what a pool sent
            complete = heat.method == CAM_METHOD
        return heat, complete

    def _has_time(self, flagged: FlaggedFrame) -> bool:
        """Return whether the heat of a live camera's frame may be refined now."""
        config = self.config
        seconds = flagged.handle.refinement_seconds * len(flagged.tiles)
        fits = config.budget >= 1 or seconds <= config.budget * flagged.frame_interval
        is_late = self._clock() >= flagged.frame.monotonic + config.deadline
        return fits and not is_late and not self.is_backlogged()

    def _locate(
        self, flagged: FlaggedFrame, explanation: Explanation
    ) -> tuple[Explanation, Heatmap | None, tuple[Region, ...]]:
        """Return the explanation, the frame's heat and its regions; without regions it has a reason."""
        tiles: Sequence[TileHeatmap] = explanation.tile_heatmaps
        if not tiles:
            return explanation, None, ()
        spec, (height, width) = flagged.handle.spec, flagged.frame.image.shape[:2]
        try:
            heat, regions = locate(
                tiles,
                width=width,
                height=height,
                input_size=spec.input_size,
                cell_offset=spec.cell_offset,
                threshold=spec.regions.threshold,
                minimum_area=self.config.minimum_area,
            )
        except Exception as error:
            _log_failure("locating", flagged, error)
            return _nothing(_describe("locating", error)), None, ()
        if regions:
            return explanation, heat, regions
        reason = "no heat above the threshold is as large as the smallest region"
        return replace(explanation, tile_heatmaps=(), reason=reason), heat, ()

    def _draw(
        self, flagged: FlaggedFrame, heat: Heatmap | None, regions: tuple[Region, ...], reason: str | None
    ) -> bytes:
        frame, verdict = flagged.frame, flagged.verdict
        drawn = annotate(
            frame.image,
            regions,
            heat,
            label=verdict.label,
            score=verdict.score,
            threshold=verdict.threshold,
            camera=frame.camera,
            captured_at=frame.captured_at,
            reason=reason,
            heat_style=self.config.heat_style,
        )
        identity = event_id(frame.camera, frame.captured_at, frame.number)
        xmp = xmp_packet(identity, verdict.label, verdict.score, regions)
        return encode_jpeg(drawn, self.config.jpeg_quality, xmp)


def _attempt(step: str, flagged: FlaggedFrame, make: Callable[[], bytes]) -> bytes | None:
    """Return the result of `make`; where it fails, log the error and return None."""
    try:
        return make()
    except Exception as error:
        _log_failure(step, flagged, error)
        return None


def _nothing(reason: str) -> Explanation:
    return Explanation(CAM_METHOD, 0, "skipped", reason=reason)


def _describe(step: str, error: Exception) -> str:
    return f"{step} failed: {type(error).__name__}"


def _log_failure(step: str, flagged: FlaggedFrame, error: Exception) -> None:
    logger.error(
        "a flagged frame could not be processed in full",
        extra={"step": step, "camera": flagged.frame.camera, "frame": flagged.frame.number},
        exc_info=error,
    )
