"""A second model beside that of a camera: its verdicts change nothing, only its differences are passed on."""

import math
import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np

from monitor.inference.handle import ModelHandle, ModelSpec
from monitor.inference.scheduler import DeviceScheduler
from monitor.pipeline.inference_stage import inputs_of
from monitor.pipeline.interfaces import ClassifiedFrame
from monitor.records import Verdict
from monitor.telemetry.supervised_thread import SupervisedThread

SHADOW_PINNED_FRAMES = 2
"""Frames of one camera that the stage may hold: one in the mailbox, one being classified."""

_HEARTBEAT = 1.0

ShadowOutcome = Literal["same", "differs", "dropped"]
"""What came of a frame of a camera with a shadow model: the same verdict, another one, or none."""


OnDifference = Callable[[ClassifiedFrame, Verdict, ModelSpec], None]
"""Receives a frame, the verdict of the shadow model that differs, and that model. It must not block."""


class ShadowObserver(Protocol):
    """Counts the frames of cameras with a shadow model."""

    def on_shadow(self, camera: str, outcome: ShadowOutcome) -> None:
        """Count a frame of `camera`."""


class ShadowStage:
    """Classifies frames again, in a thread of its own, for at most the fraction `budget` of the time.

    It has room for one frame of each camera. A frame that finds no room, or comes when the budget is used
    up, is counted as dropped. On the device of `scheduler` it waits for all verdicts. `clock` is monotonic
    seconds.
    """

    def __init__(
        self,
        on_difference: OnDifference,
        observer: ShadowObserver,
        scheduler: DeviceScheduler,
        *,
        budget: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_difference = on_difference
        self._observer = observer
        self._scheduler = scheduler
        self._pause = 1 / budget - 1
        self._clock = clock
        self._resumes_at = float("-inf")
        # Setting and popping an item of a dict are atomic.
        self._mailbox: dict[str, tuple[ModelHandle, ClassifiedFrame]] = {}
        self._filled = threading.Event()
        self._end = False
        self.last_heartbeat = time.monotonic()
        self.thread = SupervisedThread("shadow", self, restart_after=1.0)

    def put(self, handle: ModelHandle, classified: ClassifiedFrame) -> None:
        """Have a frame classified by the shadow model `handle`, or drop it. Never waits."""
        camera, entry = classified.frame.camera, (handle, classified)
        if self._clock() < self._resumes_at or self._mailbox.setdefault(camera, entry) is not entry:
            self._observer.on_shadow(camera, "dropped")
        else:
            self._filled.set()

    def start(self) -> None:
        """Start to classify."""
        self.thread.start()

    def close(self) -> None:
        """Stop to classify; frames in the mailbox are dropped."""
        self._end = True
        self._filled.set()

    def run(self) -> None:
        """Classify until `close`; runs in `thread`."""
        while not self._end:
            self._filled.wait(_HEARTBEAT)
            self._filled.clear()
            for camera in list(self._mailbox):
                if not self._end:
                    self._classify(*self._mailbox.pop(camera))
            self.last_heartbeat = time.monotonic()
        for camera in list(self._mailbox):
            del self._mailbox[camera]
            self._observer.on_shadow(camera, "dropped")

    def _classify(self, handle: ModelHandle, classified: ClassifiedFrame) -> None:
        frame, spec = classified.frame, handle.spec
        outcome: ShadowOutcome = "dropped"
        started = self._clock()
        try:
            # One input at a time: a verdict waits for one pass at most.
            inputs = inputs_of(frame, spec.input_size)
            with self._scheduler.in_background():
                score = float(np.max([handle.classify(each[None]).scores[0] for each in inputs]))
            if not math.isfinite(score):
                return
            verdict = Verdict(spec.labels[score >= spec.threshold], score, spec.threshold)
            outcome = "same" if verdict.defective == classified.verdict.defective else "differs"
            if outcome == "differs":
                self._on_difference(classified, verdict, spec)
        finally:
            self._observer.on_shadow(frame.camera, outcome)
            finished = self._clock()
            self._resumes_at = finished + (finished - started) * self._pause
