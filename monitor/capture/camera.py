"""One camera: a thread that reads its source, numbers and stamps the frames, and hands them over."""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Literal

from monitor.capture.backoff import LONGEST, reopening_delays
from monitor.capture.gaps import GapLedger
from monitor.capture.source import Source
from monitor.errors import ImageError, SourceError
from monitor.records import CameraChange, Frame, Gap, Image

log = logging.getLogger(__name__)

State = Literal["starting", "up", "down", "ended"]


class Camera:
    """Reads one source until it ends or `stop` is called, and opens it again, without end, when it fails.

    Frames are numbered from 0 over all reopenings. Each number is either taken by the consumer or counted in
    exactly one Gap: `overload` where it gave way to newer frames, `unreadable` where the picture was bad.
    `frames="every"` reads only while there is room for `buffer` frames, so that nothing is lost on this side;
    with `"newest"` the oldest waiting frame gives way.

    A live source that fails or ends is `down` and opened again. So is a source that cannot be opened, unless
    `reopen` is false, as for files that someone has to mend first. A finite one that fails halfway is `down`,
    then `ended`: from its start again, it would repeat what was inspected.

    `report` hears Gaps and changes of state, `on_frame` is called after each frame and at the end, `on_read`
    with the seconds each read took. They are called from the reader's thread (by `stop`: from its caller's),
    hold no lock of the camera, and must not block.
    """

    def __init__(
        self,
        name: str,
        open_source: Callable[[], Source],
        *,
        frames: Literal["every", "newest"],
        report: Callable[[Gap | CameraChange], None],
        on_frame: Callable[[], None] = lambda: None,
        on_read: Callable[[float], None] = lambda _: None,
        buffer: int = 8,
        reopen: bool = True,
        delays: Callable[[], Iterator[float]] = reopening_delays,
    ) -> None:
        self.name = name
        self._open_source = open_source
        self._keep_every = frames == "every"
        self._report = report
        self._on_frame = on_frame
        self._on_read = on_read
        self._size = buffer
        self._reopen = reopen
        self._delays = delays
        self._waiting: deque[Frame] = deque()
        self._gaps = GapLedger(name)
        self._captured = 0
        self._state: tuple[State, str | None] | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()  # guards the fields above; the reader waits on it for room
        self._thread = threading.Thread(target=self._run, name=f"capture {name}", daemon=True)

    @property
    def captured(self) -> int:
        """Frames numbered so far, lost ones included."""
        with self._changed:
            return self._captured

    @property
    def ended(self) -> bool:
        """Whether no further frame can be taken."""
        with self._changed:
            return self._state is not None and self._state[0] == "ended" and not self._waiting

    def start(self) -> None:
        """Begins to read. Once only."""
        self._change("starting")
        self._thread.start()

    def take(self, limit: int) -> list[Frame]:
        """Up to `limit` waiting frames, oldest first; does not wait. Also after `stop`, for what was left."""
        with self._changed:
            taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            self._changed.notify_all()
            return taken

    def stop(self, timeout: float) -> bool:
        """Ends the reading; returns within `timeout` seconds, True if the source was closed by then.

        A read that hangs is left behind: it ends at its own timeout, and what it brings is no longer counted.
        """
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._finish()
        return not self._thread.is_alive()

    def _run(self) -> None:
        delays = self._delays()
        try:
            while not self._stopping.is_set():
                try:
                    source = self._open_source()
                except SourceError as error:
                    self._change("down", error.cause, str(error))
                    if not self._reopen:
                        return
                except Exception as error:
                    self._fail(error)
                else:
                    with contextlib.closing(source):
                        lasted = self._read_all(source)
                    self._report_all(self._flushed())
                    if not source.live:
                        return
                    if lasted > LONGEST:  # a source that flaps is not knocked at without pause
                        delays = self._delays()
                self._stopping.wait(next(delays))
        finally:
            self._finish()

    def _read_all(self, source: Source) -> float:
        """Reads to the end, a failure or `stop`; the seconds from opening to the last picture."""
        opened = last = due = time.monotonic()
        while self._wait_for_room() and not self._stopping.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            fault = image = None
            try:
                image = source.read()
            except ImageError as error:
                fault = str(error)
            except SourceError as error:
                self._change("down", error.cause, str(error))
                break
            except Exception as error:
                self._fail(error)
                break
            at, now = datetime.now(UTC), time.monotonic()
            if image is None and fault is None:
                if source.live:
                    self._change("down", "end-of-stream", "the stream ended")
                break
            self._on_read(now - began)
            self._enter(image, fault, at, now)
            last = now
            # Keeps the rate over small delays, but never hurries to catch up with large ones.
            interval = source.interval or 0.0
            due = max(due + interval, now)
        return last - opened

    def _wait_for_room(self) -> bool:
        """Whether to read on; with `every` waits until the buffer has room for a frame."""
        with self._changed:
            while self._keep_every and len(self._waiting) >= self._size and not self._stopping.is_set():
                self._changed.wait()
            return not self._stopping.is_set()

    def _enter(self, image: Image | None, fault: str | None, at: datetime, now: float) -> None:
        if image is not None:
            self._change("up")
        with self._changed:
            if self._stopping.is_set():
                return
            number = self._captured
            self._captured += 1
            if image is None:
                self._gaps.add("unreadable", number, at, now, fault)
            else:
                if len(self._waiting) >= self._size:
                    lost = self._waiting.popleft()
                    self._gaps.add("overload", lost.number, lost.captured_at, now)
                self._waiting.append(Frame(self.name, number, at, now, image))
            gaps = self._gaps.due(now)
        self._report_all(gaps)
        if image is not None:
            self._on_frame()

    def _change(self, state: State, cause: str | None = None, detail: str | None = None) -> bool:
        """Reports a change of state once; False if it is none. After `stop` only the end is reported."""
        with self._changed:
            over = self._stopping.is_set() or (self._state is not None and self._state[0] == "ended")
            if self._state == (state, cause) or (over and state != "ended"):
                return False
            self._state = state, cause
        self._report(CameraChange(self.name, state, datetime.now(UTC), cause, detail))
        return True

    def _fail(self, error: Exception) -> None:
        """A fault of the program, not of the camera: said aloud, and treated as any other."""
        log.exception("reading camera %s failed in an unforeseen way", self.name)
        self._change("down", "fault", f"reading failed in an unforeseen way: {type(error).__name__}")

    def _finish(self) -> None:
        self._report_all(self._flushed())
        if self._change("ended"):
            self._on_frame()

    def _flushed(self) -> list[Gap]:
        with self._changed:
            return self._gaps.flush()

    def _report_all(self, gaps: list[Gap]) -> None:
        for gap in gaps:
            self._report(gap)
