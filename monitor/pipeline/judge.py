"""From captured frames to verdicts: one loop over all cameras, batch by batch."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.pipeline.observer import Observer
from monitor.records import Box, Frame, Gap, Image, Stage, Verdict

log = logging.getLogger(__name__)


class FrameSource(Protocol):
    """What the judge needs of a camera."""

    name: str

    def take(self, limit: int) -> list[Frame]:
        """At most `limit` waiting frames, oldest first; does not wait."""

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more."""


class Answer(Protocol):
    """The network's answer to b pictures; `monitor.classify.classifier.Classified` is one."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """Probability of a defect, (b,), 0..1."""

    @property
    def features(self) -> NDArray[np.float32]:
        """What the network saw, (b, c)."""

    @property
    def activations(self) -> Sequence[Any]:
        """The explained layer's output, one tensor a picture."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """How far a frame lies from the training data; beyond `limit` the network is out of its depth."""

    distance: float
    limit: float

    @property
    def unfamiliar(self) -> bool:
        """Whether the verdict rests on a surface that the network was not trained on."""
        return self.distance > self.limit


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One part of a flagged frame as the network saw it: picture (h, w, 3) uint8 at the network's size."""

    box: Box
    picture: Image
    score: float
    activations: Any


@dataclass(frozen=True, slots=True, eq=False)
class Flagged:
    """A frame with a defect on its way to its event; `views` are those flagged, `latency` is in seconds."""

    frame: Frame
    verdict: Verdict
    views: tuple[View, ...]
    novelty: Novelty | None
    latency: Mapping[Stage, float]


Classify = Callable[[NDArray[np.uint8]], Answer]
"""Answers a batch (b, h, w, 3) uint8 of pictures at the network's size."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge applies to every frame.

    `classify` answers a (b, h, w, 3) uint8 batch;
    `distance` maps features (b, c) to distances (b,) from the training data, beyond `limit` unfamiliar.
    """

    classify: Classify
    threshold: float
    labels: tuple[str, str]
    batch: int
    distance: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
    limit: float = float("inf")


class Judge:
    """Takes waiting frames of all cameras in turn and judges them together.

    Flagged frames go to `pass_on`; frames that the network has no answer to go to `report` as gaps.
    """

    def __init__(
        self,
        cameras: Iterable[FrameSource],
        judgement: Judgement,
        *,
        pass_on: Callable[[Flagged], None],
        report: Callable[[Gap], None],
        observer: Observer,
    ) -> None:
        self._cameras = deque(cameras)
        self._judgement = judgement
        self._pass_on = pass_on
        self._report = report
        self._observer = observer
        self._work = threading.Event()
        self._lock = threading.Lock()  # guards the cameras
        self.progressed_at = time.monotonic()
        self._idle = self._over = False

    @property
    def idle(self) -> bool:
        """Whether no frame waits for its verdict or is on its way to it."""
        return self._idle or self._over

    def wake(self) -> None:
        """Say that a frame is waiting, or that a camera has ended."""
        self._idle = False
        self._work.set()

    def watch(self, camera: FrameSource) -> None:
        """From now on judge the frames of this camera, too."""
        with self._lock:
            self._cameras.append(camera)

    def run(self) -> None:
        """Judge until every camera has ended and no frame waits."""
        try:
            while self._cameras:
                self._turn()
                self.progressed_at = time.monotonic()
        finally:
            self._over = True  # or explanations would give way for ever to frames that will not come

    def _turn(self) -> None:
        """Judge what waits, or wait for it."""
        self._work.clear()
        with self._lock:
            ended = [camera for camera in self._cameras if camera.ended]  # before taking: none slips in
            cameras = list(self._cameras)
        frames = self._gather(cameras)
        if frames:
            self.judge(frames)
        elif ended:
            with self._lock:
                for camera in ended:
                    self._cameras.remove(camera)
        else:
            self._idle = True
            self._work.wait(0.25)
            self._idle = False

    def _gather(self, cameras: list[FrameSource]) -> list[Frame]:
        """One frame of each camera in turn, until a batch is full or none waits.

        It does not wait for more to come: while a batch is judged, the frames of all cameras gather for the
        next one.
        """
        gathered: list[Frame] = []
        inputs = 0
        last = None
        waiting = list(cameras)
        while waiting and inputs < self._judgement.batch:
            for camera in list(waiting):
                if inputs >= self._judgement.batch:
                    break
                taken = camera.take(1)
                if not taken:
                    waiting.remove(camera)
                    continue
                last = camera
                gathered += taken
                inputs += len(taken[0].boxes)
        if last is not None:
            with self._lock:
                self._cameras.rotate(-1 - self._cameras.index(last))  # the one after it is first next time
        return gathered

    def _refuse(self, frame: Frame, why: str) -> None:
        """Say of a frame that it could not be judged."""
        self._report(
            Gap(
                camera=frame.camera,
                first=frame.number,
                last=frame.number,
                started_at=frame.captured_at,
                ended_at=frame.captured_at,
                frames=1,
                cause="unusable",
                detail=why,
            )
        )

    def judge(self, frames: Sequence[Frame]) -> None:
        """Judge frames together."""
        rules = self._judgement
        started = time.monotonic()
        pictures = np.concatenate([frame.inputs for frame in frames])
        answer = rules.classify(pictures)
        distances = None if rules.distance is None else rules.distance(answer.features)
        finished = time.monotonic()
        for frame, span in zip(frames, _spans(frames), strict=True):
            score = float(answer.scores[span].max())
            if not math.isfinite(score):  # it compares with no threshold: "clean" would be a guess
                self._refuse(frame, "the network's score is not a number")
                continue
            clean, defect = rules.labels
            label = defect if score >= rules.threshold else clean
            verdict = Verdict(label=label, score=score, threshold=rules.threshold)
            novelty = None if distances is None else Novelty(_finite(distances[span].max()), rules.limit)
            latency: dict[Stage, float] = {
                "queue": started - frame.monotonic,
                "classify": finished - started,
            }
            self._tell(frame, verdict, novelty, latency, finished)
            if verdict.defective:
                views = tuple(
                    View(box, pictures[index], float(answer.scores[index]), answer.activations[index])
                    for box, index in zip(frame.boxes, range(span.start, span.stop), strict=True)
                    if answer.scores[index] >= rules.threshold
                )
                self._pass_on(Flagged(frame, verdict, views, novelty, latency))

    def _tell(
        self,
        frame: Frame,
        verdict: Verdict,
        novelty: Novelty | None,
        latency: Mapping[Stage, float],
        now: float,
    ) -> None:
        camera = frame.camera
        self._observer.captured(camera, frame.captured_at.timestamp())
        for stage, seconds in latency.items():
            self._observer.stage(camera, stage, seconds)
        self._observer.verdict(camera, verdict.score, now - frame.monotonic)
        if not verdict.defective:  # a flagged frame counts as one once its event is kept
            self._observer.frame(camera, "clean")
        if novelty is not None:
            self._observer.novelty(camera, novelty.distance, novelty.limit)


def _finite(distance: np.float32) -> float:
    """Beyond all measure, or no number at all: farther than anything."""
    return float(distance) if np.isfinite(distance) else 1e9


def _spans(frames: Sequence[Frame]) -> Iterator[slice]:
    """Which of the batch's pictures belong to each frame."""
    start = 0
    for frame in frames:
        yield slice(start, start + len(frame.boxes))
        start += len(frame.boxes)
