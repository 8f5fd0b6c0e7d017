"""Run the whole daemon without configuration, and score its verdicts.

Events come from Redis, as for any subscriber; the true defects come from the simulation.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import redis

from monitor.bootstrap.daemon import build_daemon
from monitor.events.event import Event
from monitor.records import FrameOutcome
from monitor.redis_streams.subscriber import Subscriber
from monitor.settings import parse_settings
from monitor.simulate.surface import SurfaceGenerator
from monitor.telemetry.metrics import create_registry
from monitor.tools.demo.embedded_redis import embedded_server
from monitor.tools.demo.page_process import page_process
from monitor.tools.demo.scorecard import (
    LatencyRecorder,
    Scorecard,
    ScoredEvent,
    covers_defect,
    median_and_p99,
)

FPS = 15


DEFECT_RATE = 0.05


SEEDS: Mapping[str, int] = {"left": 11, "right": 12}


_IMAGES = 6


_SETTINGS = """
[redis]
url = "{url}"
raw_frames = true
[metrics]
port = {port}
[log]
level = "warning"
"""


_CAMERA = """
[[camera]]
name = "{name}"
source = "simulate:?seed={seed}&defect_rate={rate}"
fps = {fps}
"""


class Demo:
    """A running demo: an embedded Redis server, a daemon with two simulated cameras, a subscriber."""

    def __init__(self, url: str, port: int, out: Path) -> None:
        settings = parse_settings(_settings_text(url, port), "demo", {})
        self._metrics = LatencyRecorder(create_registry())
        self.daemon = build_daemon(settings, metrics=self._metrics)
        self._surfaces = {
            name: SurfaceGenerator(seed, defect_rate=DEFECT_RATE, textures=1) for name, seed in SEEDS.items()
        }
        self._url, self._out = url, out
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self.scorecard = Scorecard()
        self._daemon_thread = threading.Thread(target=self._run_daemon, name="daemon")
        self._reader_thread = threading.Thread(target=self._read, name="subscriber")

    def start(self) -> None:
        """Start, and return when the cameras run or the daemon has failed."""
        self._out.mkdir(parents=True, exist_ok=True)
        self._daemon_thread.start()
        self._reader_thread.start()
        while not self.daemon.wait_until_ready(0.1) and self._daemon_thread.is_alive():
            pass

    @property
    def settings_text(self) -> str:
        """The settings of the daemon, TOML, with the metrics port that it took."""
        return _settings_text(self._url, self.daemon.port)

    @property
    def running(self) -> bool:
        """Whether the daemon runs."""
        return self._daemon_thread.is_alive()

    def finish(self) -> Scorecard:
        """Let the daemon process its backlog, and score it. Raises the exception that ended the daemon."""
        self.daemon.stop()
        self._daemon_thread.join()
        self._ended.set()
        self._reader_thread.join()
        if self._failure is not None:
            raise self._failure
        return self._count()

    def _run_daemon(self) -> None:
        try:
            self.daemon.run()
        except Exception as error:
            self._failure = error  # `finish` raises it

    def _read(self) -> None:
        with Subscriber(self._url, interval=0.2) as subscriber:
            for event in subscriber.follow("0", stop=self._caught_up(subscriber)):
                self.scorecard.seen.append(self._compare(event))
                image = subscriber.picture(event)
                if image is not None and len(self.scorecard.pictures) < _IMAGES:
                    path = self._out / f"{event.id}.jpg"
                    path.write_bytes(image)
                    self.scorecard.pictures.append(path)

    def _caught_up(self, subscriber: Subscriber) -> Callable[[], bool]:
        """Return a function that is true once the daemon has ended and the whole stream was read."""
        client = redis.Redis.from_url(self._url, protocol=2, socket_timeout=5)
        return lambda: (
            self._ended.is_set() and len(self.scorecard.seen) >= int(client.xlen(subscriber.keys.events))
        )

    def _compare(self, event: Event) -> ScoredEvent:
        truth = self._surfaces[event.camera].defect_at(event.frame_number)
        size = event.image
        covers = [
            truth is not None and covers_defect(region, truth, width=size.width, height=size.height)
            for region in event.regions
        ]
        return ScoredEvent(event, hit=any(covers), elsewhere=covers.count(False))

    def _count(self) -> Scorecard:
        card = self.scorecard
        flagged = {(seen.event.camera, seen.event.frame_number) for seen in card.seen}
        gaps = self._gaps()
        for name, surface in self._surfaces.items():
            frames = {
                outcome: self._frames(name, outcome) for outcome in (*get_args(FrameOutcome), "dropped")
            }
            captured = sum(frames.values())
            defects = [number for number in range(captured) if surface.defect_at(number) is not None]
            card.frames += captured
            card.not_inspected += frames["unusable"] + frames["dropped"]
            card.defects += len(defects)
            for number in defects:
                if (name, number) in flagged:
                    continue
                # The network did not miss a defect on a frame that was not inspected.
                if any(camera == name and number in numbers for camera, numbers in gaps):
                    card.defects_not_inspected += 1
                else:
                    card.missed += 1
        card.verdict = median_and_p99(self._metrics.verdict_seconds)
        card.event = median_and_p99(self._metrics.event_seconds)
        return card

    def _frames(self, camera: str, outcome: str) -> int:
        labels = {"camera": camera, "outcome": outcome}
        return int(self._metrics.registry.get_sample_value("defect_monitor_frames_total", labels) or 0)

    def _gaps(self) -> list[tuple[str, range]]:
        """Return cameras and numbers of frames that were not inspected, from the coverage stream."""
        with redis.Redis.from_url(self._url, protocol=2, socket_timeout=5) as client:
            entries = [fields for _, fields in client.xrange("defects:coverage")]
        return [
            (entry[b"camera"].decode(), range(int(entry[b"first"]), int(entry[b"last"]) + 1))
            for entry in entries
            if entry[b"kind"] == b"gap" and b"first" in entry
        ]


def _settings_text(url: str, port: int) -> str:
    cameras = (
        _CAMERA.format(name=name, seed=seed, rate=DEFECT_RATE, fps=FPS) for name, seed in SEEDS.items()
    )
    return _SETTINGS.format(url=url, port=port) + "".join(cameras)


@contextmanager
def demo(port: int, out: Path, page_port: int, on_page: Callable[[str], None]) -> Iterator[Demo]:
    """Run a demo; metrics at `port`, the page at `page_port` (0: any), some frames go to the folder `out`.

    `on_page` is called with the page's address before the daemon starts. Raises MonitorError.
    """
    with embedded_server() as url:
        running = Demo(url, port, out)
        with page_process(running.settings_text, page_port) as address:
            on_page(address)
            running.start()
            try:
                yield running
            finally:
                if running.running:
                    running.daemon.stop()
