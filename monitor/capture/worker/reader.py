"""Reads one source, opens it again when it fails, and makes each picture ready to be judged.

Runs in the capture process; what it finds goes to a `Port`.
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
from monitor.capture.sources.base import FrameStamp, Source, StampedSource
from monitor.capture.worker.timestamps import CaptureEstimate
from monitor.errors import ImageError, SourceError, UsageError
from monitor.records import CaptureClock, Image

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """When a frame was captured, on both clocks, and by which clock that is known."""

    at: datetime
    monotonic: float
    by: CaptureClock = "arrival"


class FrameChannel(Protocol):
    """Where a reader sends what it finds, and from where it hears that it is to stop."""

    def wait_for_stop(self, seconds: float) -> bool:
        """Waits; True, at once, when the reader is to stop."""

    def wait_for_slot(self) -> bool:
        """Waits until a picture can be taken in; False when the reader is to stop."""

    def send_opened(self, live: bool, interval: float | None) -> None:
        """The source is open."""

    def send_failed(self, cause: str, detail: str) -> None:
        """The source cannot be opened or read."""

    def send_frame(self, image: Image, views: Tiles, moment: CaptureTime, took: float) -> None:
        """A picture to be judged; `took` seconds went into reading and preparing it."""

    def send_lost(
        self,
        cause: LostReason,
        why: str | None,
        moment: CaptureTime,
        took: float,
        since: datetime | None = None,
    ) -> None:
        """A picture that is not judged."""


def _always_usable(_: Image) -> str | None:
    return None


def no_frozen_check(_: Image) -> int:
    """Of a camera whose pictures may repeat: each counts as the first of its kind."""
    return 1


def _arrival_time(_: FrameStamp | None, arrival: float) -> CaptureEstimate:
    return CaptureEstimate(arrival, "arrival")


@dataclass(frozen=True, slots=True)
class FrameChecks:
    """What is done with each picture before it is judged.

    `views` cuts out and resizes what the network is shown, UsageError where that cannot be; `amiss` says why
    a picture shows nothing that could be judged; `still` counts the identical pictures in a row, of which
    `frozen` are too many (0: any number is fine).
    """

    views: Callable[[Image], Tiles]
    amiss: Callable[[Image], str | None] = _always_usable
    repeat_count: Callable[[Image], int] = no_frozen_check
    frozen: int = 0


@dataclass(slots=True)
class SourceReader:
    """Reads until the source ends or the port says stop.

    A live source that fails or ends is opened again, without end. So is one that cannot be opened, unless
    `reopen` is false, as for files that someone has to mend first. A finite one that fails halfway is not:
    from its start again, it would repeat what was inspected. With `every` a picture is only read when there
    is room for it.

    `clock` makes a new function for each opening; the function estimates when a frame was captured, from what
    the source knows of its time (or None) and when it was read, in seconds of the monotonic clock.
    """

    open_source: Callable[[], Source]
    port: FrameChannel
    inspection: FrameChecks
    every: bool
    reopen: bool = True
    delays: Callable[[], Iterator[float]] = reconnect_delays
    clock: Callable[[], Callable[[FrameStamp | None, float], CaptureEstimate]] = lambda: _arrival_time
    _still_since: datetime | None = field(default=None, init=False)

    def run(self) -> None:
        """Read. Returns when nothing more will come."""
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
                if lasted > MAX_DELAY:  # a source that flaps is not knocked at without pause
                    delays = self.delays()
            if self.port.wait_for_stop(next(delays)):
                return

    def _read_all(self, source: Source) -> float:
        """Reads to the end, a failure or a stop; the seconds from opening to the last picture."""
        opened = last = due = time.monotonic()
        clock = self.clock()
        while (not self.every or self.port.wait_for_slot()) and not self.port.wait_for_stop(
            due - time.monotonic()
        ):
            began = time.monotonic()
            image = None
            fault: ImageError | None = None
            try:
                image = source.read()
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
            taken, by = clock(source.stamp if isinstance(source, StampedSource) else None, arrival)
            moment = CaptureTime(wall - timedelta(seconds=arrival - taken), taken, by)
            if fault is not None:
                self.port.send_lost(fault.cause, str(fault), moment, arrival - began)
            elif image is not None:
                self._check_and_send(image, moment, began)
            last = arrival
            # Keeps the rate over small delays, but never hurries to catch up with large ones.
            due = max(due + (source.frame_interval or 0.0), arrival)
        return last - opened

    def _check_and_send(self, image: Image, moment: CaptureTime, began: float) -> None:
        """Looks at a picture and sends it on, or says why not."""
        rules = self.inspection
        why = rules.amiss(image)
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
            self.port.send_lost("misconfigured", misfit, moment, took)
        elif why is not None:
            self.port.send_lost("unusable", why, moment, took)
        elif rules.frozen and same >= rules.frozen:
            sentence = f"the last {rules.frozen} pictures or more are the same to the pixel"
            self.port.send_lost("frozen", sentence, moment, took, self._still_since)
        else:
            self.port.send_frame(image, views, moment, took)

    def _fail(self, error: Exception) -> None:
        """A fault of the program, not of the camera: said aloud, and treated as any other."""
        log.exception("reading failed in an unforeseen way")
        self.port.send_failed("fault", f"reading failed in an unforeseen way: {type(error).__name__}")
