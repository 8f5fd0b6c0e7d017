"""The outcome of every frame, in order and in batches, on its way to the verdict stream."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from monitor.daemon.coverage import UNUSABLE_CAUSES
from monitor.delivery.outbox import Outbox
from monitor.events.event import Document
from monitor.events.verdicts import MAX_FRAMES, FrameOrder, FrameResult, VerdictBatch, unreported
from monitor.records import Frame, Gap, Verdict
from monitor.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


VERDICTS = "verdicts"
"""The name under which the outbox stores up to which frame outcomes are in it."""


_INTERVAL, _INTERVAL_DISCONNECTED = 1.0, 10.0
"""Seconds between batches of a camera; while Redis is away, fewer and larger ones."""


_MAX_FRACTION = 0.25
"""Fraction of the outbox that verdicts may take, so that events keep their room."""


_MAX_INBOX = 100_000
"""Results that `flush` has not seen yet. Beyond it the oldest are dropped, and become `unreported`."""


class _Progress(Document):
    """What outlives a run: the frame that follows those in the outbox, for each camera that goes on."""

    run: str
    next: dict[str, int]


@dataclass(slots=True)
class _CameraResults:
    """Results of one camera: those that lack an earlier one, and those that are ready to go."""

    order: FrameOrder = field(default_factory=FrameOrder)
    ready: list[FrameResult] = field(default_factory=list)


class VerdictRecorder:
    """Collects the outcome of every frame and puts it into the outbox.

    `on_verdict` and `on_gap` are for any thread and never wait. `run` is the random name of this run. `clock`
    is monotonic seconds.
    """

    def __init__(
        self, outbox: Outbox, daemon_id: str, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._outbox, self._daemon_id, self._metrics, self._clock = outbox, daemon_id, metrics, clock
        self._inbox: deque[tuple[str, FrameResult]] = deque(maxlen=_MAX_INBOX)
        self._cameras: dict[str, _CameraResults] = {}
        self.run = secrets.token_hex(8)
        self._next: dict[str, int] = {}
        self._flushed_at = clock()
        self._lock = threading.Lock()  # guards all but the inbox

    def start(self, cameras: Iterable[str]) -> None:
        """Report what is lost of a run that was killed, and that this run begins, before the first frame."""
        with self._lock:
            self._end_earlier_run()
            for camera in cameras:
                self._cameras[camera] = _CameraResults()
                self._put(camera, [])

    def on_verdict(self, frame: Frame, verdict: Verdict) -> None:
        """Take the verdict on a frame. It counts although its event may still fail to be made."""
        outcome: Literal["defect", "clean"] = "defect" if verdict.defective else "clean"
        number = frame.number
        result = FrameResult(
            number, number, outcome, frame.captured_at, verdict.score, source_name=frame.source_name
        )
        self._inbox.append((frame.camera, result))

    def on_gap(self, gap: Gap) -> None:
        """Take frames that were not inspected."""
        outcome: Literal["unusable", "dropped"] = "unusable" if gap.cause in UNUSABLE_CAUSES else "dropped"
        for lost in gap.lost:
            result = FrameResult(
                lost.first,
                lost.last,
                outcome,
                lost.captured_at,
                cause=gap.cause,
                source_name=lost.source_name,
            )
            self._inbox.append((gap.camera, result))

    def flush(self) -> None:
        """Put what is in order into the outbox, once a second; to be called more often than that."""
        interval = _INTERVAL_DISCONNECTED if self._outbox.stats().connected is False else _INTERVAL
        with self._lock:
            if self._clock() - self._flushed_at < interval:
                return
            self._flushed_at = self._clock()
            self._sort()
            for camera, results in self._cameras.items():
                results.ready += results.order.pop()
                self._put_ready(camera, results)

    def finish(self, next_frame_numbers: Mapping[str, int]) -> None:
        """Put the outcome of every frame below these numbers into the outbox; nothing follows."""
        with self._lock:
            self._sort()
            for camera in next_frame_numbers:
                self._cameras.setdefault(camera, _CameraResults())
            for camera, results in self._cameras.items():
                upto = next_frame_numbers.get(camera, results.order.next)
                results.ready += results.order.pop_all(upto, "stopping")
                self._put_ready(camera, results, end=True)
            self._cameras.clear()

    def _sort(self) -> None:
        while self._inbox:
            camera, result = self._inbox.popleft()
            self._cameras.setdefault(camera, _CameraResults()).order.add(result)

    def _put_ready(self, camera: str, results: _CameraResults, *, end: bool = False) -> None:
        if results.ready and self._outbox.fraction_of("verdicts") >= _MAX_FRACTION:
            results.ready = unreported(results.ready, "outbox-full")
            if not end:
                return
        while results.ready:
            batch, results.ready = results.ready[:MAX_FRAMES], results.ready[MAX_FRAMES:]
            self._put(camera, batch)
        if end:
            self._put(camera, [], end="stopped")

    def _put(self, camera: str, results: list[FrameResult], end: Literal["stopped"] | None = None) -> None:
        first = self._next.get(camera, 0)
        self._next[camera] = results[-1].last + 1 if results else first
        batch = VerdictBatch(
            daemon=self._daemon_id,
            run=self.run,
            camera=camera,
            first=first,
            next=self._next[camera],
            end=end,
            verdicts=tuple(result.verdict() for result in results),
        )
        if end is not None:
            del self._next[camera]
        missing = sum(result.last - result.first + 1 for result in results if result.outcome == "unreported")
        self._metrics.outbox_dropped("verdicts", missing)
        self._append(batch, _Progress(run=self.run, next=self._next))

    def _append(self, batch: VerdictBatch, progress: _Progress) -> None:
        self._outbox.put(batch.notice(datetime.now(UTC)), state={VERDICTS: progress.model_dump_json()})

    def _end_earlier_run(self) -> None:
        stored = self._outbox.state(VERDICTS)
        if stored is None:
            return
        try:
            earlier = _Progress.model_validate_json(stored)
        except ValidationError:
            logger.exception("the stored progress of verdicts cannot be read")
            return
        unfinished = dict(earlier.next)
        for camera, number in earlier.next.items():
            fields = {"camera": camera, "from_frame": number}
            logger.warning("the last verdicts of an earlier run are lost", extra=fields)
            batch = VerdictBatch(
                daemon=self._daemon_id,
                run=earlier.run,
                camera=camera,
                first=number,
                next=number,
                end="killed",
                verdicts=(),
            )
            del unfinished[camera]
            self._append(batch, _Progress(run=earlier.run, next=unfinished))
