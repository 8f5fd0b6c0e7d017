"""From a flagged frame to its event: explain, locate, annotate, hand over for publishing."""

import logging
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from monitor.errors import InferenceError
from monitor.events.event import event_id
from monitor.imaging.annotation import HeatStyle, annotate
from monitor.imaging.jpeg import encode_jpeg, xmp_packet
from monitor.imaging.regions import find_regions, merge_heatmaps
from monitor.inference.handle import CAM_METHOD, CamHeat
from monitor.pipeline.budget import TimeBudget
from monitor.pipeline.interfaces import FlaggedFrame, FlaggedTile, PipelineObserver
from monitor.records import Explanation, ExplanationOutcome, Finding, Heatmap, Region, Stage, TileHeatmap

log = logging.getLogger(__name__)


MAX_PINNED_FRAMES = 4
"""Flagged frames that may wait in the memory of their camera; further ones are copied out of it."""


@dataclass(frozen=True, slots=True)
class ExplanationConfig:
    """How flagged frames are explained and located.

    Explanations may take `budget` (0..1) of the time, and none is refined later than `deadline` seconds after
    the frame's capture. `minimum_area` is a fraction of one input's part of the frame. What belongs to the
    model comes from the frame's own handle.
    """

    enabled: bool = True
    minimum_area: float = 0.0005
    budget: float = 1.0
    deadline: float = float("inf")
    heat_style: HeatStyle = "overlay"
    jpeg_quality: int = 85
    raw_frames: bool = False


Publish = Callable[[Finding, FlaggedFrame, bytes, bytes | None], None]
"""Takes a finding with its annotated frame and, where asked for, the frame as it came, both as JPEG."""


class ExplanationStage:
    """Makes an event of every flagged frame, one after another, away from the judging loop.

    Every flagged frame gets heat from the activations of its classification. Faster-Score-CAM refines it with
    fewer maps, or none, when time is short, or when more than `queue_limit` frames are queued; the event
    names the method and the number of maps. With four times as many, `put` blocks: a flagged frame is never
    dropped, and memory stays bounded. `clock` is the one of the frames' `monotonic`.
    """

    def __init__(
        self,
        explaining: ExplanationConfig,
        publish: Publish,
        observer: PipelineObserver,
        *,
        queue_limit: int = 32,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._explaining = explaining
        self._publish = publish
        self._observer = observer
        self._waiting = queue_limit
        self._clock = clock
        self._budget = TimeBudget(explaining.budget, explaining.deadline, now=clock())
        self._queue: queue.Queue[FlaggedFrame] = queue.Queue(maxsize=4 * queue_limit)
        self._hurried = False
        self._closing = False
        self.progressed_at = time.monotonic()

    def put(self, flagged: FlaggedFrame) -> None:
        """Take over a flagged frame."""
        if self._queue.qsize() >= MAX_PINNED_FRAMES:
            flagged = _detached_copy(flagged)
        self._queue.put(flagged)

    @property
    def queued(self) -> int:
        """Flagged frames that wait."""
        return self._queue.qsize()

    def is_backlogged(self) -> bool:
        """Return whether more flagged frames are queued than have time to be explained."""
        return self._queue.qsize() > self._waiting

    def skip_explanations(self) -> None:
        """From now on refine no heat: there is no time left for it."""
        self._hurried = True

    def close(self) -> None:
        """Say that no flagged frame comes any more; `run` returns when those taken over are out."""
        self._closing = True

    def run(self) -> None:
        """Report flagged frames until `close`."""
        while True:
            closing = self._closing  # before looking: what came before the word is seen below
            try:
                self.process(self._queue.get(timeout=0.1))
            except queue.Empty:
                if closing:
                    return
            self.progressed_at = time.monotonic()

    def process(self, flagged: FlaggedFrame) -> None:
        """Explain, locate, annotate and publish one flagged frame."""
        rules, spec = self._explaining, flagged.handle.spec
        image = flagged.frame.image
        height, width = image.shape[:2]
        laps = StageTimer()
        explanation = self._explain(flagged)
        laps.mark("explain")
        heat: Heatmap | None = None
        regions: tuple[Region, ...] = ()
        if explanation.tile_heatmaps:
            heat = merge_heatmaps(
                explanation.tile_heatmaps,
                width=width,
                height=height,
                input_size=spec.input_size,
                cell_offset=spec.cell_offset,
            )
            largest = max(tile.box.area for tile in explanation.tile_heatmaps)
            regions = find_regions(
                heat,
                threshold=spec.regions.threshold,
                minimum_area=rules.minimum_area * largest,
                tiles=explanation.tile_heatmaps,
            )
            if not regions:
                explanation = _without_regions(
                    explanation, "no warm place is as large as the smallest region"
                )
        laps.mark("locate")
        jpeg = self._picture(flagged, heat, regions, explanation.reason)
        raw = encode_jpeg(image, rules.jpeg_quality) if rules.raw_frames else None
        laps.mark("annotate")
        finding = Finding(
            frame=flagged.frame,
            verdict=flagged.verdict,
            explanation=explanation,
            regions=regions,
            latency={**flagged.latency, **laps.durations},
        )
        self._publish(finding, flagged, jpeg, raw)
        # Counted only now: what metrics call a defect is safe with whoever publishes it.
        camera = flagged.frame.camera
        for stage, seconds in laps.durations.items():
            self._observer.on_stage(camera, stage, seconds)
        self._observer.on_explanation(camera, explanation.outcome)
        self._observer.on_outcome(camera, "defect")

    def _explain(self, flagged: FlaggedFrame) -> Explanation:
        if not self._explaining.enabled:
            return Explanation("none", 0, "skipped", reason="explanations are switched off")
        heats = []
        for behind, tile in reversed(list(enumerate(reversed(flagged.tiles)))):
            try:
                heats.append((tile, *self._heat(flagged, tile, behind)))
            except InferenceError as error:
                return Explanation(CAM_METHOD, 0, "skipped", reason=str(error))
        # What the event says of its tiles holds for all: it names the one that was refined least.
        least = min(
            (heat for _, heat, _ in heats), key=lambda heat: (heat.method == CAM_METHOD, heat.maps_used)
        )
        outcome: ExplanationOutcome = "full" if all(complete for _, _, complete in heats) else "reduced"
        found = tuple(
            TileHeatmap(heat.heatmap, tile.box, heat.peak, tile.score)
            for tile, heat, _ in heats
            if heat.peak > 0
        )
        reason = None if found else "the heat is flat, zero or not a number"
        return Explanation(least.method, least.maps_used, outcome, found, reason)

    def _heat(self, flagged: FlaggedFrame, tile: FlaggedTile, behind: int) -> tuple[CamHeat, bool]:
        """Explain one tile while there is time; `behind` more of its frame come after it.

        Returns the heat, and whether all maps asked for were scored.
        """
        frame, handle = flagged.frame, flagged.handle
        waiting, max_n = self._queue.qsize(), handle.spec.regions.max_n
        budget = self._budget.allocate(frame.monotonic, self._clock(), waiting=waiting + behind)
        complete = True

        def proceed(maps: int, seconds: float) -> bool:
            nonlocal complete
            if frame.source_waits:
                complete = not self._hurried
                return complete
            budget.spend(seconds)
            has_time = waiting <= self._waiting and budget.may_continue(self._clock(), stopping=self._hurried)
            complete = has_time or maps >= max_n
            return has_time

        return handle.explain(tile.image, tile.evidence, proceed), complete

    def _picture(
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
            heat_style=self._explaining.heat_style,
        )
        identity = event_id(frame.camera, frame.captured_at, frame.number)
        xmp = xmp_packet(identity, verdict.label, verdict.score, regions)
        return encode_jpeg(drawn, self._explaining.jpeg_quality, xmp)


def _detached_copy(flagged: FlaggedFrame) -> FlaggedFrame:
    """The same with pixels of its own."""
    frame = flagged.frame
    return replace(
        flagged,
        frame=replace(frame, image=frame.image.copy(), tile_inputs=frame.tile_inputs.copy()),
        tiles=tuple(replace(tile, image=tile.image.copy()) for tile in flagged.tiles),
    )


def _without_regions(on_explanation: Explanation, reason: str) -> Explanation:
    return Explanation(on_explanation.method, on_explanation.maps_used, on_explanation.outcome, (), reason)


class StageTimer:
    """Seconds from lap to lap."""

    def __init__(self) -> None:
        self.durations: dict[Stage, float] = {}
        self._last = time.monotonic()

    def mark(self, stage: Stage) -> None:
        """Record the time since the last mark as the duration of `stage`."""
        now = time.monotonic()
        self.durations[stage] = now - self._last
        self._last = now
