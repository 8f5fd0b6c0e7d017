"""Reads one source, opens it again when it fails, and prepares each frame for inspection.

Runs in the capture process; results go to a `FrameChannel`.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from monitor.capture.backoff import MAX_DELAY, reconnect_delays
from monitor.capture.config import Tiles
from monitor.capture.messages import LostReason
from monitor.capture.sources.base import (
    NO_ORIGIN,
    FileSource,
    FrameOrigin,
    FrameStamp,
    NoFrameYet,
    Source,
    StampedSource,
)
from monitor.capture.worker.lost_frames import LostFrameEstimator, LostFrames
from monitor.capture.worker.timestamps import CaptureEstimate
from monitor.errors import ImageError, SourceError, UsageError
from monitor.records import CaptureClock, Image

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """When a frame was captured, on both clocks, and by which clock that is known."""

    at: datetime
    monotonic: float
    by: CaptureClock = "arrival"


class FrameChannel(Protocol):
    """Where a reader sends its results, and which tells it to stop."""

    def wait_for_stop(self, seconds: float) -> bool:
        """Wait; True, at once, when the reader is to stop."""

    def wait_for_slot(self) -> bool:
        """Wait until there is room for a frame; False when the reader is to stop."""

    def admits(self, captured: float) -> bool:
        """Whether a frame captured at `captured` (monotonic) can be classified in time; else it is
        dropped."""

    def send_opened(self, live: bool, interval: float | None) -> None:
        """The source is open."""

    def send_idle(self) -> None:
        """The source has no new frame."""

    def send_failed(self, cause: str, detail: str) -> None:
        """The source cannot be opened or read."""

    def send_frame(
        self,
        image: Image,
        views: Tiles,
        moment: CaptureTime,
        took: float,
        origin: FrameOrigin = NO_ORIGIN,
    ) -> None:
        """A frame to inspect; reading and preparing it took `took` seconds.

        The receipt of `origin` is called when the daemon is done with the frame.
        """

    def send_lost(
        self,
        cause: LostReason,
        why: str | None,
        moment: CaptureTime,
        took: float,
        *,
        since: datetime | None = None,
        frames: int = 1,
        origin: FrameOrigin = NO_ORIGIN,
        image: Image | None = None,
    ) -> None:
        """`frames` frames that are not inspected, the last one `image`; calls the receipt of `origin`."""


def _always_usable(_: Image) -> str | None:
    return None


def no_frozen_check(_: Image) -> int:
    """For a camera whose frames may repeat: each counts as the first of its kind."""
    return 1


def _arrival_time(_: FrameStamp | None, arrival: float) -> CaptureEstimate:
    return CaptureEstimate(arrival, "arrival")


@dataclass(frozen=True, slots=True)
class FrameChecks:
    """How each frame is checked and prepared before inspection.

    `views` cuts out and resizes the network's inputs, UsageError where that is impossible;
    `unusable_reason` returns why a frame shows nothing to classify; `repeat_count` counts the identical
    frames in a row, of which `frozen` are too many (0: any number is allowed).
    """

    views: Callable[[Image], Tiles]
    unusable_reason: Callable[[Image], str | None] = _always_usable
    repeat_count: Callable[[Image], int] = no_frozen_check
    frozen: int = 0


@dataclass(slots=True)
class SourceReader:
    """Reads until the source ends or the channel tells it to stop.

    A live source that fails or ends is opened again, without limit. So is one that cannot be opened, unless
    `reopen` is false, as for files that someone has to fix first. A finite one that fails halfway is not:
    read from its start, it would repeat what was inspected. With `every` a frame is only read when there is
    room for it. With `find_lost` gaps in a regular source's time stamps count as lost frames.

    `clock` makes a new function for each opening; the function estimates when a frame was captured, from what
    the source knows of its time (or None) and when it was read, in seconds of the monotonic clock.
    """

    open_source: Callable[[], Source]
    port: FrameChannel
    inspection: FrameChecks
    every: bool
    reopen: bool = True
    find_lost: bool = True
    delays: Callable[[], Iterator[float]] = reconnect_delays
    clock: Callable[[], Callable[[FrameStamp | None, float], CaptureEstimate]] = lambda: _arrival_time
    _still_since: datetime | None = field(default=None, init=False)

    def run(self) -> None:
        """Read; return when no more frames will come."""
        delays = self.delays()
        while True:
            try:
                source = self.open_source()
            except SourceError as error:
                self.port.send_failed(error.cause, str(error))
                if not self.reopen:
                    return
            except Exception as error:
                self._fail(error)
            else:
                with contextlib.closing(source):
                    self.port.send_opened(source.live, source.frame_interval)
                    lasted = self._read_all(source)
                if not source.live:
                    return
                if lasted > MAX_DELAY:  # a source that flaps is opened with growing delays
                    delays = self.delays()
            if self.port.wait_for_stop(next(delays)):
                return

    def _read_all(self, source: Source) -> float:
        """Read to the end, a failure or a stop; return the seconds from opening to the last frame."""
        opened = last = due = time.monotonic()
        clock = self.clock()
        lost_frames = LostFrameEstimator()
        while (not self.every or self.port.wait_for_slot()) and not self.port.wait_for_stop(
            due - time.monotonic()
        ):
            began = time.monotonic()
            fault: ImageError | None = None
            image = None
            try:
                image = source.read()
            except NoFrameYet as pause:
                self.port.send_idle()
                due = time.monotonic() + pause.seconds
                continue
            except ImageError as error:
                fault = error
            except SourceError as error:
                self.port.send_failed(error.cause, str(error))
                break
            except Exception as error:
                self._fail(error)
                break
            wall, arrival = datetime.now(UTC), time.monotonic()
            if image is None and fault is None:
                if source.live:
                    self.port.send_failed("end-of-stream", "the stream ended")
                break
            origin = source.origin if isinstance(source, FileSource) else NO_ORIGIN
            taken, by = clock(source.stamp if isinstance(source, StampedSource) else None, arrival)
            moment = CaptureTime(wall - timedelta(seconds=arrival - taken), taken, by)
            if (stamp := source.stream_time) is not None and self.find_lost:
                is_live = source.source_time is not None
                self._send_lost_upstream(lost_frames.observe(stamp, arrival, is_live=is_live))
            if fault is not None:
                self.port.send_lost(fault.cause, str(fault), moment, arrival - began, origin=origin)
            elif image is not None and not self.port.admits(taken):
                self.port.send_lost("overload", None, moment, arrival - began, origin=origin)
            elif image is not None:
                self._check_and_send(image, moment, began, origin)
            last = arrival
            # Keeps the average rate over small delays, but does not catch up after large ones.
            due = max(due + (source.frame_interval or 0.0), arrival)
        self._send_lost_upstream(lost_frames.flush())
        return last - opened

    def _send_lost_upstream(self, losses: list[LostFrames]) -> None:
        for lost in losses:
            wall, now = datetime.now(UTC), time.monotonic()
            since, until = (wall - timedelta(seconds=now - at) for at in (lost.since, lost.until))
            moment = CaptureTime(until, lost.until)
            self.port.send_lost("lost-upstream", lost.detail, moment, 0.0, since=since, frames=lost.count)

    def _check_and_send(self, image: Image, moment: CaptureTime, began: float, origin: FrameOrigin) -> None:
        """Check a frame and send it, or the reason why it is not inspected."""
        rules = self.inspection
        why = rules.unusable_reason(image)
        same = rules.repeat_count(image)
        if same <= 1:
            self._still_since = moment.at
        misfit = None
        try:
            views = rules.views(image)
        except UsageError as error:
            misfit = str(error)
        took = time.monotonic() - began
        if misfit is not None:
            self.port.send_lost("misconfigured", misfit, moment, took, origin=origin, image=image)
        elif why is not None:
            self.port.send_lost("unusable", why, moment, took, origin=origin, image=image)
        elif rules.frozen and same >= rules.frozen:
            detail = f"the last {rules.frozen} frames or more are identical"
            since = self._still_since
            self.port.send_lost("frozen", detail, moment, took, since=since, origin=origin, image=image)
        else:
            self.port.send_frame(image, views, moment, took, origin)

    def _fail(self, error: Exception) -> None:
        """Report a fault of the program; the source is opened again as after any other failure."""
        logger.exception("unexpected failure while reading")
        self.port.send_failed("fault", f"unexpected failure while reading: {type(error).__name__}")
