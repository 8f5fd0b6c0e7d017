"""From captured frames to verdicts: one loop over all cameras, batch by batch."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.errors import InferenceError
from monitor.imaging.geometry import resize_to_input
from monitor.inference.handle import ModelHandle
from monitor.inference.router import ModelRouter
from monitor.models.novelty import NoveltyScore
from monitor.pipeline.interfaces import FlaggedFrame, FlaggedTile, FrameProvider, PipelineObserver
from monitor.records import Frame, Gap, Stage, Verdict

log = logging.getLogger(__name__)


class InferenceStage:
    """Takes queued frames of all cameras in turn and classifies at most `batch` inputs at once.

    `router` gives the model of each camera. Flagged frames go to `on_flagged`; frames that a model has no
    answer to go to `report` as gaps. While `is_backlogged`, explanations are behind: no frame is taken of a
    source that waits, so that live cameras keep their verdicts and no explanation is cut short.
    """

    def __init__(
        self,
        cameras: Iterable[FrameProvider],
        router: ModelRouter,
        *,
        batch: int,
        on_flagged: Callable[[FlaggedFrame], None],
        report: Callable[[Gap], None],
        observer: PipelineObserver,
        is_backlogged: Callable[[], bool] = lambda: False,
    ) -> None:
        self._cameras = deque(cameras)
        self._router = router
        self._batch = batch
        self._pass_on = on_flagged
        self._report = report
        self._observer = observer
        self._is_backlogged = is_backlogged
        self._work = threading.Event()
        self._lock = threading.Lock()  # guards the cameras
        self.progressed_at = time.monotonic()
        self._idle = self._over = False

    @property
    def idle(self) -> bool:
        """Whether no frame waits for its verdict or is on its way to it."""
        return self._idle or self._over

    def notify(self) -> None:
        """Say that a frame is waiting, or that a camera has ended."""
        self._idle = False
        self._work.set()

    def watch(self, camera: FrameProvider) -> None:
        """From now on judge the frames of this camera, too."""
        with self._lock:
            self._cameras.append(camera)

    def run(self) -> None:
        """Judge until every camera has ended and no frame waits."""
        try:
            while self._cameras:
                self._run_once()
                self.progressed_at = time.monotonic()
        finally:
            self._over = True  # or explanations would give way for ever to frames that will not come

    def _run_once(self) -> None:
        """Judge what waits, or wait for it."""
        self._work.clear()
        with self._lock:
            ended = [camera for camera in self._cameras if camera.ended]  # before taking: none slips in
            cameras = list(self._cameras)
        frames = self._collect_batch(cameras)
        if frames:
            self.process(frames)
        elif ended:
            with self._lock:
                for camera in ended:
                    self._cameras.remove(camera)
        else:
            self._idle = True
            self._work.wait(0.25)
            self._idle = False

    def _collect_batch(self, cameras: list[FrameProvider]) -> list[Frame]:
        """One frame of each camera in turn, until a batch is full or none waits.

        It does not wait for more to come: while a batch is judged, the frames of all cameras gather for the
        next one.
        """
        gathered: list[Frame] = []
        inputs = 0
        last = None
        backlogged = self._is_backlogged()
        waiting = [camera for camera in cameras if not (backlogged and camera.source_waits)]
        while waiting and inputs < self._batch:
            for camera in list(waiting):
                if inputs >= self._batch:
                    break
                taken = camera.take(1)
                if not taken:
                    waiting.remove(camera)
                    continue
                last = camera
                gathered += taken
                inputs += len(taken[0].tile_boxes)
        if last is not None:
            with self._lock:
                self._cameras.rotate(-1 - self._cameras.index(last))  # the one after it is first next time
        return gathered

    def _reject(self, frame: Frame, cause: str, detail: str) -> None:
        """Report a frame that could not be classified."""
        self._report(
            Gap(
                camera=frame.camera,
                first=frame.number,
                last=frame.number,
                started_at=frame.captured_at,
                ended_at=frame.captured_at,
                frames=1,
                cause=cause,
                detail=detail,
            )
        )

    def process(self, frames: Sequence[Frame]) -> None:
        """Classify frames, those of one model together."""
        handles = [self._router.handle_for(frame.camera) for frame in frames]
        for handle in dict.fromkeys(handles):
            group = [frame for frame, each in zip(frames, handles, strict=True) if each is handle]
            self._classify(handle, group)

    def _classify(self, handle: ModelHandle, frames: Sequence[Frame]) -> None:
        spec = handle.spec
        started = time.monotonic()
        inputs = np.concatenate([_inputs(frame, spec.input_size) for frame in frames])
        try:
            answer = handle.classify(inputs)
        except InferenceError as error:
            for frame in frames:
                self._reject(frame, error.cause, str(error))
            return
        finished = time.monotonic()
        for frame, span in zip(frames, _tile_slices(frames), strict=True):
            score = float(answer.scores[span].max())
            if not math.isfinite(score):  # it compares with no threshold: "clean" would be a guess
                self._reject(frame, "unusable", "the network's score is not a number")
                continue
            verdict = Verdict(
                label=spec.labels[score >= spec.threshold], score=score, threshold=spec.threshold
            )
            known = [novelty for novelty in answer.novelty[span] if novelty is not None]
            novelty = max(known, key=lambda each: each.distance, default=None)
            latency: dict[Stage, float] = {
                "queue": started - frame.monotonic,
                "classify": finished - started,
            }
            self._observe(frame, verdict, novelty, latency, finished)
            if verdict.defective:
                tiles = tuple(
                    FlaggedTile(box, inputs[index], float(answer.scores[index]), answer.evidence[index])
                    for box, index in zip(frame.tile_boxes, range(span.start, span.stop), strict=True)
                    if answer.scores[index] >= spec.threshold
                )
                self._pass_on(FlaggedFrame(frame, handle, verdict, tiles, novelty, latency))

    def _observe(
        self,
        frame: Frame,
        verdict: Verdict,
        novelty: NoveltyScore | None,
        latency: Mapping[Stage, float],
        now: float,
    ) -> None:
        camera = frame.camera
        self._observer.on_frame(camera, frame.captured_at.timestamp())
        for stage, seconds in latency.items():
            self._observer.on_stage(camera, stage, seconds)
        self._observer.on_verdict(camera, verdict.score, now - frame.monotonic)
        if not verdict.defective:  # a flagged frame counts as one once its event is kept
            self._observer.on_outcome(camera, "clean")
        if novelty is not None:
            self._observer.on_novelty(camera, novelty.distance, novelty.limit)


def _inputs(frame: Frame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the tiles of `frame` at `size` (height, width); cut again where they are of another size.

    That is so right after a camera was given a model of another input size.
    """
    if frame.tile_inputs.shape[1:3] == size:
        return frame.tile_inputs
    boxes = frame.tile_boxes
    return np.stack(
        [resize_to_input(frame.image[box.top : box.bottom, box.left : box.right], size) for box in boxes]
    )


def _tile_slices(frames: Sequence[Frame]) -> Iterator[slice]:
    """Yield which of the batch's inputs belong to each frame."""
    start = 0
    for frame in frames:
        yield slice(start, start + len(frame.tile_boxes))
        start += len(frame.tile_boxes)
