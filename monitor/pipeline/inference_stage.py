"""From captured frames to verdicts: one loop over all cameras, batch by batch."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.errors import InferenceError
from monitor.imaging.geometry import resize_to_input
from monitor.inference.handle import ModelHandle
from monitor.inference.router import ModelRouter, Routing
from monitor.models.novelty import NoveltyScore
from monitor.pipeline.interfaces import (
    ClassifiedFrame,
    FlaggedFrame,
    FlaggedTile,
    FrameProvider,
    OnClean,
    OnGap,
    OnShadowed,
    OnVerdict,
    PipelineObserver,
    frame_gap,
    ignore,
)
from monitor.pipeline.nominal_period import NominalPeriod
from monitor.records import Frame, Stage, Verdict

logger = logging.getLogger(__name__)


OnFlagged = Callable[[FlaggedFrame, Callable[[], None]], None]
"""Takes over a flagged frame. While it blocks, it calls its second argument at least once a second."""


class InferenceStage:
    """Takes queued frames of all cameras in turn and classifies at most `batch` inputs together.

    With a live camera it takes no more inputs than save time together: on a processor most often one, whose
    verdict then need not wait for those of others. `router` gives the model of each camera. Flagged frames go
    to `on_flagged`, frames that a model has no answer to go to `on_gap`, each verdict goes to `on_verdict`
    first, frames below the threshold to `on_clean`, all of a camera with a shadow model to `on_shadowed`.
    While `is_backlogged`, explanations are behind: no frame is taken of a source that waits, so that live
    cameras keep their verdicts and no explanation is cut short. `clock` is the clock of the frames'
    `monotonic`, in seconds.
    """

    def __init__(
        self,
        router: ModelRouter,
        on_flagged: OnFlagged,
        on_gap: OnGap,
        observer: PipelineObserver,
        *,
        batch: int = 8,
        is_backlogged: Callable[[], bool] = lambda: False,
        on_verdict: OnVerdict = ignore,
        on_clean: OnClean = ignore,
        on_shadowed: OnShadowed = ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._on_flagged = on_flagged
        self._on_gap = on_gap
        self._observer = observer
        self._batch = batch
        self._is_backlogged = is_backlogged
        self._on_verdict = on_verdict
        self._on_clean = on_clean
        self._on_shadowed = on_shadowed
        self._clock = clock
        self._cameras: deque[FrameProvider] = deque()
        self._lock = threading.Lock()  # guards the cameras
        self._periods: dict[str, NominalPeriod] = {}
        self._work = threading.Event()
        self._closing = False
        self._in_hand: dict[tuple[str, int], Frame] = {}
        self.last_heartbeat = time.monotonic()

    def notify(self) -> None:
        """Announce that a frame is queued, or that a camera has ended. Callable from any thread."""
        self._work.set()

    def add_camera(self, camera: FrameProvider) -> None:
        """Classify the frames of `camera`, too, until it has ended."""
        with self._lock:
            self._cameras.append(camera)
        self._work.set()

    def close(self) -> None:
        """Announce that no camera is added any more; `run` returns when all have ended."""
        self._closing = True
        self._work.set()

    def run(self) -> None:
        """Classify until `close` was called, every camera has ended and no frame is queued."""
        while self._run_once():
            self._beat()

    def _run_once(self) -> bool:
        """Classify what is queued, or wait for it; whether to go on."""
        self._work.clear()
        with self._lock:
            ended = [camera for camera in self._cameras if camera.ended]  # first, so that no frame is missed
            cameras = list(self._cameras)
        if self._closing and not cameras:
            return False
        # Before any frame is taken, and after the cameras are known: a frame of a camera that was opened for
        # another model is classified by that model, one taken before by the model before.
        routing = self._router.routing
        frames = self._collect_batch(cameras, routing)
        if frames:
            self.process(frames, routing)
        elif ended:
            with self._lock:
                for camera in ended:
                    self._cameras.remove(camera)
                    self._periods.pop(camera.name, None)
        else:
            self._work.wait(0.25)
        return True

    def _beat(self) -> None:
        self.last_heartbeat = time.monotonic()

    def _collect_batch(self, cameras: Sequence[FrameProvider], routing: Routing) -> list[Frame]:
        """Take one frame of each camera in turn, until a pass is full or no frame is queued.

        It does not wait for more: while a batch is classified, the frames of all cameras gather for the next.
        """
        frames: list[Frame] = []
        inputs, limit = 0, self._batch
        last = None
        backlogged = self._is_backlogged()
        any_live = not all(camera.source_waits for camera in cameras)
        providers = [camera for camera in cameras if not (backlogged and camera.source_waits)]
        while providers and inputs < limit:
            for camera in list(providers):
                if inputs >= limit:
                    break
                taken = camera.take(1)
                if not taken:
                    providers.remove(camera)
                    continue
                last = camera
                if any_live:
                    limit = min(limit, routing.handle_for(camera.name).efficient_batch)
                frames += taken
                inputs += len(taken[0].tile_boxes)
        if last is not None:
            with self._lock:
                self._cameras.rotate(-1 - self._cameras.index(last))  # the one after it is first next time
        return frames

    def process(self, frames: Sequence[Frame], routing: Routing | None = None) -> None:
        """Classify frames, those of one model together. Each has an outcome also where this raises.

        `routing` gives their models; None: as it is now.
        """
        self._in_hand = {(frame.camera, frame.number): frame for frame in frames}
        routing = routing or self._router.routing
        handles = [routing.handle_for(frame.camera) for frame in frames]
        try:
            for handle in dict.fromkeys(handles):
                same = [it for it, its in zip(frames, handles, strict=True) if its is handle]
                self._classify(handle, same, routing)
        except Exception as error:
            for frame in self._in_hand.values():
                self._on_gap(
                    frame_gap(frame, "fault", f"classification failed: {type(error).__name__}: {error}")
                )
            raise
        finally:
            self._in_hand = {}

    def _classify(self, handle: ModelHandle, frames: Sequence[Frame], routing: Routing) -> None:
        spec = handle.spec
        started = self._clock()
        inputs = np.concatenate([inputs_of(frame, spec.input_size) for frame in frames])
        thresholds = [routing.threshold_for(frame.camera) for frame in frames]
        try:
            if all(threshold == spec.threshold for threshold in thresholds):
                answer = handle.classify(inputs)
            else:
                counts = [len(frame.tile_boxes) for frame in frames]
                answer = handle.classify(inputs, np.repeat(np.array(thresholds), counts))
        except InferenceError as error:
            for frame in frames:
                self._reject(frame, error.cause, str(error))
            return
        finished = self._clock()
        for frame, span, threshold in zip(frames, _tile_slices(frames), thresholds, strict=True):
            score = float(answer.scores[span].max())
            if not math.isfinite(score):  # it compares with no threshold: "clean" would be a guess
                self._reject(frame, "unusable", "the network's score is not a number")
                continue
            kind = answer.kinds[span.start + int(answer.scores[span].argmax())] if answer.kinds else None
            verdict = Verdict(label=kind or spec.labels[score >= threshold], score=score, threshold=threshold)
            known = [novelty for novelty in answer.novelty[span] if novelty is not None]
            novelty = max(known, key=lambda each: each.distance, default=None)
            latency: dict[Stage, float] = {
                "queue": started - frame.monotonic,
                "classify": finished - started,
            }
            self._observe(frame, verdict, novelty, latency, finished)
            self._on_verdict(frame, verdict)
            if (shadow := routing.shadows.get(frame.camera)) is not None:
                self._on_shadowed(shadow, ClassifiedFrame(frame, verdict, novelty, spec))
            if verdict.defective:
                tiles = tuple(
                    FlaggedTile(box, inputs[index], float(answer.scores[index]), answer.evidence[index])
                    for box, index in zip(frame.tile_boxes, range(span.start, span.stop), strict=True)
                    if answer.scores[index] >= threshold
                )
                interval = self._frame_interval()
                flagged = FlaggedFrame(
                    frame, handle, verdict, tiles, novelty, latency, interval, routing.recipe
                )
                self._on_flagged(flagged, self._beat)
            else:
                self._on_clean(frame, verdict, novelty, spec)
            del self._in_hand[frame.camera, frame.number]

    def _frame_interval(self) -> float:
        """Return the seconds between two frames of all live cameras together; 0 while that is not known."""
        periods = [period.seconds for period in self._periods.values()]
        return 1 / sum(1 / seconds for seconds in periods if seconds) if any(periods) else 0.0

    def _reject(self, frame: Frame, cause: str, detail: str) -> None:
        """Report a frame that could not be classified."""
        del self._in_hand[frame.camera, frame.number]
        self._on_gap(frame_gap(frame, cause, detail))

    def _observe(
        self,
        frame: Frame,
        verdict: Verdict,
        novelty: NoveltyScore | None,
        latency: Mapping[Stage, float],
        now: float,
    ) -> None:
        camera, seconds = frame.camera, now - frame.monotonic
        for stage, duration in latency.items():
            self._observer.on_stage(camera, stage, duration)
        self._observer.on_verdict(camera, verdict.score, seconds)
        if not frame.source_waits:
            period = self._periods.setdefault(camera, NominalPeriod())
            period.observe(frame.number, frame.monotonic)
            if period.seconds is not None and seconds > period.seconds:
                self._observer.on_late_verdict(camera)
        if not verdict.defective:  # a flagged frame is counted once its event is stored
            self._observer.on_outcome(camera, "clean")
        if novelty is not None:
            self._observer.on_novelty(camera, novelty.distance, novelty.limit)


def inputs_of(frame: Frame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the tiles of `frame` at `size` (height, width); cut again where they are of another size.

    That is so right after a camera was given a model of another input size.
    """
    if frame.tile_inputs.shape[1:3] == size:
        return frame.tile_inputs
    boxes = frame.tile_boxes
    return np.stack([resize_to_input(box.of(frame.image), size) for box in boxes])


def _tile_slices(frames: Sequence[Frame]) -> Iterator[slice]:
    """Yield which of the batch's inputs belong to each frame."""
    start = 0
    for frame in frames:
        yield slice(start, start + len(frame.tile_boxes))
        start += len(frame.tile_boxes)
