"""A verdict for every frame: the documents of the verdict stream, and the order of a camera's frames."""

import heapq
import itertools
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from monitor.events.event import Count, Document, Share, Timestamp, printable, safe_name
from monitor.events.messages import NoticeMessage

VerdictOutcome = Literal["clean", "defect", "unusable", "dropped", "unreported"]
"""`clean` and `defect` were classified, `unusable` and `dropped` were not; `unreported` is not known here."""

MAX_FRAMES = 1000
"""Frames in one batch."""

_MAX_WAITING = 5000
"""Frames of a camera that wait for an earlier one, after which that one is `unreported`."""


class FrameVerdict(Document):
    """The outcome of one frame, or of all frames from `frame_number` to `last_number`."""

    frame_number: Count
    last_number: Annotated[Count | None, Field(description="last frame of a range; null: one frame")] = None
    captured_at: Annotated[
        Timestamp | None, Field(description="capture of the first of the frames; null: not known")
    ] = None
    outcome: Annotated[
        VerdictOutcome,
        Field(
            description="`defect`: its score reached the threshold; `unusable`: it came and cannot be "
            "classified; `dropped`: it was not classified; `unreported`: its outcome is lost"
        ),
    ]
    score: Annotated[Share | None, Field(description="probability of a defect of a classified frame")] = None
    cause: Annotated[str | None, Field(description="why there is no verdict, one word")] = None
    source_name: Annotated[str | None, Field(description="file that the frame comes from")] = None


class VerdictBatch(Document):
    """An entry of the verdict stream: consecutive frames of one camera, from `first` up to `next` - 1.

    Frame numbers begin at 0 in each `run` of a daemon. The next batch of the same run and camera has this
    `next` as its `first`; a higher one means that the batches in between are lost.
    """

    version: Literal[1] = 1
    daemon: str
    run: Annotated[str, Field(description="random name of the daemon's run")]
    camera: str
    first: Count
    next: Annotated[Count, Field(description="the frame number that follows this batch")]
    end: Annotated[
        Literal["stopped", "killed"] | None,
        Field(
            description="`stopped`: no frame of this run follows; `killed`: the outcomes of frames from "
            "`next` on are lost, and their number is not known; null: the run goes on"
        ),
    ] = None
    verdicts: tuple[FrameVerdict, ...]

    def notice(self, now: datetime) -> NoticeMessage:
        """Pack for the outbox; `now` is the time of a batch that has no capture times."""
        times = [verdict.captured_at for verdict in self.verdicts if verdict.captured_at is not None]
        document = self.model_dump_json(exclude_none=True)
        return NoticeMessage(
            f"verdicts-{self.run}-{safe_name(self.camera)}-{self.first}-{self.end or self.next}",
            self.camera,
            (("camera", self.camera), ("verdicts", document)),
            min(times, default=now),
            max(times, default=now),
            "verdicts",
            ((self.first, self.next - 1),) if self.next > self.first else (),
        )


class FrameResult(NamedTuple):
    """What became of the frames from `first` to `last` of one camera; fields as in `FrameVerdict`."""

    first: int
    last: int
    outcome: VerdictOutcome
    captured_at: datetime | None = None
    score: float | None = None
    cause: str | None = None
    source_name: str | None = None

    def verdict(self) -> FrameVerdict:
        """Return the document."""
        return FrameVerdict(
            frame_number=self.first,
            last_number=self.last if self.last > self.first else None,
            captured_at=self.captured_at,
            outcome=self.outcome,
            score=None if self.score is None else round(min(1.0, max(0.0, self.score)), 4),
            cause=self.cause,
            source_name=None if self.source_name is None else printable(self.source_name),
        )


class FrameOrder:
    """Puts the results of one camera's frames in the order of their numbers. Pure; for one thread.

    Of several results for one number the first counts. `next` is the lowest number that has none yet.
    """

    def __init__(self, max_waiting: int = _MAX_WAITING) -> None:
        self.next = 0
        self._max_waiting = max_waiting
        self._waiting: list[tuple[int, int, FrameResult]] = []
        self._arrivals = itertools.count()

    def add(self, result: FrameResult) -> None:
        """Take a result, in any order."""
        if result.last >= self.next:
            heapq.heappush(self._waiting, (result.first, next(self._arrivals), result))

    def pop(self) -> list[FrameResult]:
        """Return the results that no earlier frame precedes without one, in order.

        A frame for which too many later ones wait is `unreported`, with cause `overdue`.
        """
        return self._pop(lambda: len(self._waiting) > self._max_waiting, "overdue")

    def pop_all(self, upto: int, cause: str) -> list[FrameResult]:
        """Return the results of all frames below `upto`, or of more; those without one are `unreported`."""
        results = self._pop(lambda: True, cause)
        return results + self._skip(upto, cause)

    def _pop(self, skips: Callable[[], bool], cause: str) -> list[FrameResult]:
        results: list[FrameResult] = []
        while self._waiting and (self._waiting[0][0] <= self.next or skips()):
            results += self._skip(self._waiting[0][0], cause)
            result = heapq.heappop(self._waiting)[2]
            if result.last >= self.next:
                results.append(result._replace(first=self.next))
                self.next = result.last + 1
        return results

    def _skip(self, upto: int, cause: str) -> list[FrameResult]:
        if upto <= self.next:
            return []
        skipped = FrameResult(self.next, upto - 1, "unreported", cause=cause)
        self.next = upto
        return [skipped]


def unreported(results: Iterable[FrameResult], cause: str) -> list[FrameResult]:
    """Return consecutive results as one range whose outcomes are not reported."""
    results = list(results)
    if not results:
        return []
    times = (result.captured_at for result in results if result.captured_at is not None)
    return [FrameResult(results[0].first, results[-1].last, "unreported", next(times, None), cause=cause)]


class BatchSequence:
    """Finds frames whose batches are missing from the stream; for one reader."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, str], tuple[str, int]] = {}

    def missing_before(self, batch: VerdictBatch) -> VerdictBatch | None:
        """Return the frames between the previous batch of the camera and this one, if any.

        Their outcome is `unreported`, with cause `missing`. What precedes the first batch is not known.
        """
        key = batch.daemon, batch.camera
        run, expected = self._next.get(key, (batch.run, batch.first))
        if run != batch.run:
            expected = 0
        self._next[key] = batch.run, max(batch.next, expected)
        if batch.first <= expected:
            return None
        lost = FrameResult(expected, batch.first - 1, "unreported", cause="missing").verdict()
        return batch.model_copy(
            update={"first": expected, "next": batch.first, "end": None, "verdicts": (lost,)}
        )
