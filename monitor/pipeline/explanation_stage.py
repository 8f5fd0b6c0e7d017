"""From a flagged frame to its event: explain, locate, annotate, hand over for publishing."""

import logging
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from monitor.events.event import event_id
from monitor.imaging.annotation import annotate
from monitor.imaging.jpeg import encode_jpeg, xmp_packet
from monitor.imaging.regions import find_regions, merge_heatmaps
from monitor.inference.handle import Explain
from monitor.pipeline.budget import TimeBudget
from monitor.pipeline.interfaces import FlaggedFrame, FlaggedTile, PipelineObserver
from monitor.records import Explanation, ExplanationOutcome, Finding, Heatmap, Region, Stage, TileHeatmap

log = logging.getLogger(__name__)


CAM_METHOD = "faster-score-cam"


MAX_PINNED_FRAMES = 4
"""Flagged frames that may wait in the memory of their camera; further ones are copied out of it."""


@dataclass(frozen=True, slots=True)
class ExplanationConfig:
    """How flagged frames are explained and located.

    `explain` weighs up to `max_n` maps of a picture for as long as it may, or is None where explanations are
    switched off. They may take `budget` (0..1) of the time, and none is worked on later than `deadline`
    seconds after the frame's capture. `threshold` is a share of the heat's peak, `minimum_area` a share of
    the parts shown; `input_size` (height, width) and `cell_offset` (x, y) are the network's.
    """

    explain: Explain | None
    max_n: int
    threshold: float
    minimum_area: float
    input_size: tuple[int, int]
    cell_offset: tuple[float, float]
    budget: float = 1.0
    deadline: float = float("inf")
    jpeg_quality: int = 85
    raw_frames: bool = False


Publish = Callable[[Finding, FlaggedFrame, bytes, bytes | None], None]
"""Takes a finding with its annotated frame and, where asked for, the frame as it came, both as JPEG."""


class ExplanationStage:
    """Makes an event of every flagged frame, one after another, away from the judging loop.

    When time is short explanations weigh fewer maps, and then none, which the event says. So it is when more
    than `waiting` frames wait; when four times as many wait, `put` holds the judge back: a flagged frame is
    never dropped, and memory stays bounded. `clock` is the one of the frames' `monotonic`.
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

    def skip_explanations(self) -> None:
        """From now on send events without heat: there is no time left for it."""
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
        rules = self._explaining
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
                input_size=rules.input_size,
                cell_offset=rules.cell_offset,
            )
            shown = sum(patch.box.area for patch in explanation.tile_heatmaps)
            regions = find_regions(heat, threshold=rules.threshold, minimum_area=rules.minimum_area * shown)
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
        rules = self._explaining
        reason = None
        if rules.explain is None:
            reason = "explanations are switched off"
        elif self._hurried:
            reason = "the daemon is stopping"
        elif self._queue.qsize() > self._waiting:
            reason = f"more than {self._waiting} flagged frames are waiting"
        if rules.explain is None or reason is not None:
            return Explanation(CAM_METHOD, 0, "skipped", reason=reason)
        patches, counts, whole = [], [], True
        for behind, view in reversed(list(enumerate(reversed(flagged.views)))):
            heat, strength, maps, reason = self._heat(rules.explain, view, flagged.frame.monotonic, behind)
            counts.append(maps)
            whole &= reason is None or maps >= rules.max_n
            if strength > 0:
                patches.append(TileHeatmap(heat, view.box, strength))
        if not any(counts):
            return Explanation(CAM_METHOD, 0, "skipped", reason=reason)
        weighed = min(maps for maps in counts if maps)
        outcome: ExplanationOutcome = "full" if whole else "reduced"
        reason = None if patches else "the heat is flat, zero or not a number"
        return Explanation(CAM_METHOD, weighed, outcome, tuple(patches), reason)

    def _heat(
        self, explain: Explain, view: FlaggedTile, on_frame: float, behind: int
    ) -> tuple[Heatmap, float, int, str | None]:
        """Heat of a view, its strength, how many maps were weighed, and why not more.

        `behind` more views of the same frame wait.
        """
        allowance = self._budget.allocate(on_frame, self._clock(), waiting=self._queue.qsize() + behind)

        def go_on(_maps: int, seconds: float) -> bool:
            allowance.spend(seconds)
            return allowance.may_continue(self._clock(), stopping=self._hurried)

        return *explain(view.picture, view.activations, go_on), allowance.stop_reason

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
        views=tuple(replace(view, picture=view.picture.copy()) for view in flagged.views),
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
