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
from monitor.capture.sources.base import NO_ORIGIN, FileSource, FrameOrigin, NoFrameYet, Source
from monitor.errors import ImageError, SourceError, UsageError
from monitor.records import Image

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """When a picture was taken, on both clocks."""

    at: datetime
    monotonic: float


class FrameChannel(Protocol):
    """Where a reader sends what it finds, and from where it hears that it is to stop."""

    def wait_for_stop(self, seconds: float) -> bool:
        """Waits; True, at once, when the reader is to stop."""

    def wait_for_slot(self) -> bool:
        """Waits until a picture can be taken in; False when the reader is to stop."""

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
        """A picture to be judged; `took` seconds went into reading and preparing it.

        The receipt of `origin` is called when the daemon is done with the frame.
        """

    def send_lost(
        self,
        cause: LostReason,
        why: str | None,
        moment: CaptureTime,
        took: float,
        since: datetime | None = None,
        *,
        origin: FrameOrigin = NO_ORIGIN,
    ) -> None:
        """A picture that is not judged; calls the receipt of `origin`."""


def _always_usable(_: Image) -> str | None:
    return None


def no_frozen_check(_: Image) -> int:
    """Of a camera whose pictures may repeat: each counts as the first of its kind."""
    return 1


def _arrival_time(_: float | None, arrival: float) -> float:
    return arrival


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

    `clock` makes a fresh function from a source's own time of a picture (or None) and its arrival to the
    time it was taken, all on monotonic clocks in seconds.
    """

    open_source: Callable[[], Source]
    port: FrameChannel
    inspection: FrameChecks
    every: bool
    reopen: bool = True
    delays: Callable[[], Iterator[float]] = reconnect_delays
    clock: Callable[[], Callable[[float | None, float], float]] = lambda: _arrival_time
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
            fault = image = None
            try:
                image = source.read()
            except NoFrameYet as pause:
                self.port.send_idle()
                due = time.monotonic() + pause.seconds
                continue
            except ImageError as error:
                fault = str(error)
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
            taken = arrival if image is None else clock(source.source_time, arrival)
            moment = CaptureTime(wall - timedelta(seconds=arrival - taken), taken)
            if image is None:
                self.port.send_lost("unreadable", fault, moment, arrival - began, origin=origin)
            else:
                self._check_and_send(image, moment, began, origin)
            last = arrival
            # Keeps the rate over small delays, but never hurries to catch up with large ones.
            due = max(due + (source.frame_interval or 0.0), arrival)
        return last - opened

    def _check_and_send(self, image: Image, moment: CaptureTime, began: float, origin: FrameOrigin) -> None:
        """Looks at a picture and sends it on, or says why not."""
        rules = self.inspection
        why = rules.amiss(image)
        same = rules.repeat_count(image)
        if same <= 1:
            self._still_since = moment.at
        if why is None:
            try:
                views = rules.views(image)
            except UsageError as error:
                why = str(error)
        took = time.monotonic() - began
        if why is not None:
            self.port.send_lost("unusable", why, moment, took, origin=origin)
        elif rules.frozen and same >= rules.frozen:
            sentence = f"the last {rules.frozen} pictures or more are the same to the pixel"
            self.port.send_lost("frozen", sentence, moment, took, self._still_since, origin=origin)
        else:
            self.port.send_frame(image, views, moment, took, origin)

    def _fail(self, error: Exception) -> None:
        """A fault of the program, not of the camera: said aloud, and treated as any other."""
        log.exception("reading failed in an unforeseen way")
        self.port.send_failed("fault", f"reading failed in an unforeseen way: {type(error).__name__}")
