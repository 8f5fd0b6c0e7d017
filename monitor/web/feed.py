"""Follow Redis and the daemon in two threads, so that neither can hold up the page."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from monitor.errors import DeliveryError, MonitorError, first_line
from monitor.events.event import Event
from monitor.redis_streams.history import HistoryEntry, StreamHistory
from monitor.telemetry.scrape import Samples, ScrapeError, read_health, scrape_metrics
from monitor.web.state import MINUTES, LineState

logger = logging.getLogger(__name__)

_WAIT = 0.5  # seconds that a read of the streams waits for entries
_RETRY = 0.5  # seconds until the next try when Redis does not answer
_POLL = 1.0  # seconds between reads of the daemon's metrics
_WATCH_TTL = 5  # seconds that the daemon goes on with live frames after the last viewer left


class Feed:
    """Keeps a LineState up to date from the streams below `history` and the daemon at `metrics_address`.

    `watchers` says how many open pages show live frames, which are asked for only while there are some.
    """

    def __init__(
        self,
        history: StreamHistory,
        metrics_address: str,
        cameras: list[str],
        *,
        watchers: Callable[[], int],
    ) -> None:
        self._history = history
        self._metrics_address = metrics_address
        self._watchers = watchers
        self._live_frames_at = -_WAIT
        self._after: dict[str, str] = {}
        self._state = LineState(cameras)
        self._samples: Samples = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_running, args=(loop,), name=name, daemon=True)
            for name, loop in (("streams", self._follow_streams), ("metrics", self._poll_daemon))
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let both threads end; a read in progress is not waited for."""
        self._stopping.set()

    @contextmanager
    def state(self) -> Iterator[LineState]:
        """Lend the state; both threads wait meanwhile, so only read and format inside."""
        with self._lock:
            yield self._state

    @property
    def samples(self) -> Samples:
        """The daemon's latest metrics, empty while it does not answer."""
        return self._samples

    def _keep_running(self, loop: Callable[[], None]) -> None:
        """Run `loop` until it returns; show a failure on every page, and start again."""
        while True:
            try:
                return loop()
            except Exception as error:
                logger.exception("thread of the page failed", extra={"loop": threading.current_thread().name})
                with self._lock:
                    self._state.page_problem = f"{type(error).__name__}: {first_line(error)}"
                self._stopping.wait(_RETRY)

    def _follow_streams(self) -> None:
        keys = self._history.keys
        while not self._stopping.is_set():
            try:
                if not self._after:
                    self._after = self._load_last_hour()
                new = self._history.read_new(self._after, wait=_WAIT, count=500)
                for stream, entries in new.items():
                    self._after[stream] = entries[-1].id
                    for entry in entries:
                        self._take(stream == keys.events, entry)
                self._update_live_frames()
                self._set_redis_problem(None)
            except DeliveryError as error:
                self._set_redis_problem(str(error))
                self._stopping.wait(_RETRY)

    def _load_last_hour(self) -> dict[str, str]:
        """Read what the last hour needs; return the last id of each stream."""
        since = str(int((datetime.now(UTC) - timedelta(minutes=MINUTES)).timestamp() * 1000))
        after, found = {}, []
        for stream in (self._history.keys.coverage, self._history.keys.events):
            newest = self._history.newest_first(stream, count=1)
            after[stream] = newest[0].id if newest else "0-0"
            is_event = stream == self._history.keys.events
            entries = self._history.all_between(stream, since, after[stream])
            found += [(is_event, entry) for entry in entries]
        for is_event, entry in found:  # only once all is read: a failure in between would count twice
            self._take(is_event, entry)
        return after

    def _take(self, is_event: bool, entry: HistoryEntry) -> None:
        try:
            with self._lock:
                if is_event:
                    event = Event.from_json(entry.fields["event"])
                    self._state.camera(event.camera).add_event(event)
                    self._state.latest_event_id = entry.id
                else:
                    self._state.add_coverage(entry.fields)
        except (KeyError, ValueError, ValidationError):
            logger.warning("entry of the stream is not readable", extra={"entry": entry.id})

    def _update_live_frames(self) -> None:
        """Ask for live frames while somebody watches, and note which are there; twice a second at most."""
        if not self._watchers() or time.monotonic() - self._live_frames_at < _WAIT:
            return
        self._live_frames_at = time.monotonic()
        self._history.watch(_WATCH_TTL)
        with self._lock:
            names = list(self._state.cameras)
        times = self._history.live_frame_times(names)
        with self._lock:
            for name, (number, at) in times.items():
                status = self._state.camera(name)
                status.live_frame, status.live_frame_at = number, at

    def _set_redis_problem(self, problem: str | None) -> None:
        with self._lock:
            if (problem is None) != (self._state.redis_problem is None):
                logger.warning("Redis answers again") if problem is None else logger.warning(problem)
            self._state.redis_problem = problem

    def _poll_daemon(self) -> None:
        while not self._stopping.is_set():
            now = datetime.now(UTC)
            try:
                samples = scrape_metrics(self._metrics_address)
                health = read_health(self._metrics_address)
            except (ScrapeError, ValueError) as error:
                self._samples = {}
                with self._lock:
                    self._state.lose_daemon(_sentence(error), now)
            else:
                self._samples = samples
                with self._lock:
                    self._take_samples(samples, now)
                    self._state.degraded = [str(problem) for problem in health.get("degraded", [])]
            with self._lock:
                for status in self._state.cameras.values():
                    status.forget_before(now)
            self._stopping.wait(_POLL)

    def _take_samples(self, samples: Samples, now: datetime) -> None:
        states = {
            sample.labels["camera"]: sample.labels["state"]
            for sample in samples.get("camera_state", ())
            if sample.value == 1
        }
        self._state.find_daemon(states, now)
        for sample in samples.get("last_frame_timestamp_seconds", ()):
            if sample.value > 0:
                status = self._state.camera(sample.labels["camera"])
                status.last_frame_at = datetime.fromtimestamp(sample.value, UTC)


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, MonitorError) else f"the metrics cannot be read: {error}"
