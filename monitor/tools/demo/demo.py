"""The whole daemon on this machine with nothing to configure, and a count of how well it did.

What is shown comes from Redis, as any subscriber would get it; what is true comes from the simulation.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import redis

from monitor.daemon import Daemon
from monitor.events.event import Event
from monitor.records import FrameOutcome
from monitor.redis_streams.subscriber import Subscriber
from monitor.settings import parse_settings
from monitor.simulate.surface import SurfaceGenerator
from monitor.telemetry.histograms import quantiles
from monitor.tools.demo.embedded_redis import embedded_server
from monitor.tools.demo.scorecard import Scorecard, ScoredEvent, covers_defect

FPS = 15


DEFECT_RATE = 0.05


SEEDS: Mapping[str, int] = {"left": 11, "right": 12}


_PICTURES = 6


_SETTINGS = """
[redis]
url = "{url}"
[metrics]
port = {port}
[log]
level = "warning"
[explain]
budget = 1  # it shows where defects are, also on a slow machine
deadline = 30
"""


_CAMERA = """
[[camera]]
name = "{name}"
source = "simulate:?seed={seed}&defect_rate={rate}"
fps = {fps}
"""


class Demo:
    """A running demo: an embedded server, a daemon on two simulated cameras, a subscriber."""

    def __init__(self, url: str, port: int, out: Path) -> None:
        cameras = "".join(
            _CAMERA.format(name=name, seed=seed, rate=DEFECT_RATE, fps=FPS) for name, seed in SEEDS.items()
        )
        self.daemon = Daemon(parse_settings(_SETTINGS.format(url=url, port=port) + cameras, "demo", {}))
        self._lines = {
            name: SurfaceGenerator(seed, defect_rate=DEFECT_RATE, textures=1) for name, seed in SEEDS.items()
        }
        self._url, self._out = url, out
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self.tally = Scorecard()
        self._daemon_thread = threading.Thread(target=self._run_daemon, name="daemon")
        self._reader_thread = threading.Thread(target=self._read, name="subscriber")

    def start(self) -> None:
        """Start watching; returns when the cameras run or the daemon has failed."""
        self._out.mkdir(parents=True, exist_ok=True)
        self._daemon_thread.start()
        self._reader_thread.start()
        while not self.daemon.wait_until_ready(0.1) and self._daemon_thread.is_alive():
            pass

    @property
    def running(self) -> bool:
        """Whether the daemon is at work."""
        return self._daemon_thread.is_alive()

    def finish(self) -> Scorecard:
        """Let the daemon finish what it has, and count. Raises what the daemon failed of."""
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
            self._failure = error  # raised again where the demo is finished

    def _read(self) -> None:
        with Subscriber(self._url, interval=0.2) as subscriber:
            for event in subscriber.follow("0", stop=self._caught_up(subscriber)):
                self.tally.seen.append(self._compared(event))
                picture = subscriber.picture(event)
                if picture is not None and len(self.tally.pictures) < _PICTURES:
                    path = self._out / f"{event.id}.jpg"
                    path.write_bytes(picture)
                    self.tally.pictures.append(path)

    def _caught_up(self, subscriber: Subscriber) -> Callable[[], bool]:
        """Stop once the daemon has ended and every entry of the stream was read."""
        client = redis.Redis.from_url(self._url, protocol=2, socket_timeout=5)
        return lambda: (
            self._ended.is_set() and len(self.tally.seen) >= int(client.xlen(subscriber.keys.events))
        )

    def _compared(self, event: Event) -> ScoredEvent:
        truth = self._lines[event.camera].defect_at(event.frame_number)
        size = event.image
        on_it = [
            truth is not None and covers_defect(place, truth, width=size.width, height=size.height)
            for place in event.regions
        ]
        return ScoredEvent(event, hit=any(on_it), elsewhere=on_it.count(False))

    def _count(self) -> Scorecard:
        tally = self.tally
        flagged = {(seen.event.camera, seen.event.frame_number) for seen in tally.seen}
        gaps = self._gaps()
        for name, line in self._lines.items():
            frames = {
                outcome: self._frames(name, outcome) for outcome in (*get_args(FrameOutcome), "dropped")
            }
            captured = sum(frames.values())
            defects = [number for number in range(captured) if line.defect_at(number) is not None]
            tally.frames += captured
            tally.not_inspected += frames["unusable"] + frames["dropped"]
            tally.defects += len(defects)
            for number in defects:
                if (name, number) in flagged:
                    continue
                # What nobody looked at is no miss of the network: it is told apart.
                if any(camera == name and number in numbers for camera, numbers in gaps):
                    tally.defects_not_inspected += 1
                else:
                    tally.missed += 1
        tally.verdict = quantiles(self.daemon.registry, "defect_monitor_verdict_seconds")
        tally.event = quantiles(self.daemon.registry, "defect_monitor_event_seconds")
        return tally

    def _frames(self, camera: str, outcome: str) -> int:
        labels = {"camera": camera, "outcome": outcome}
        return int(self.daemon.registry.get_sample_value("defect_monitor_frames_total", labels) or 0)

    def _gaps(self) -> list[tuple[str, range]]:
        """Cameras and the numbers of frames that were not inspected, from the coverage stream."""
        with redis.Redis.from_url(self._url, protocol=2, socket_timeout=5) as client:
            entries = [fields for _, fields in client.xrange("defects:coverage")]
        return [
            (entry[b"camera"].decode(), range(int(entry[b"first"]), int(entry[b"last"]) + 1))
            for entry in entries
            if entry[b"kind"] == b"gap" and b"first" in entry
        ]


@contextmanager
def demo(port: int, out: Path) -> Iterator[Demo]:
    """A demo that is watching; metrics at `port` (0: any), some annotated frames go to the folder `out`.

    Raises MonitorError.
    """
    with embedded_server() as url:
        running = Demo(url, port, out)
        running.start()
        try:
            yield running
        finally:
            if running.running:
                running.daemon.stop()
